"""What belongs to the machine: memory groups, page cache, files, what device and memory allow."""
import json
import os
import shutil
import subprocess


class MemoryGroup:
    """A control group for one process, with a limit that counts its page cache too."""

    def __init__(self, path, unified, limit):
        self.path, self.unified = path, unified
        os.mkdir(path)
        name = "memory.max" if unified else "memory.limit_in_bytes"
        try:
            self._write(name, str(limit))
            if unified and os.path.exists(os.path.join(path, "memory.swap.max")):
                self._write("memory.swap.max", "0")
        except OSError:
            os.rmdir(path)
            raise

    def _write(self, name, text):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as file:
            file.write(text)

    def enter(self):
        self._write("cgroup.procs", str(os.getpid()))

    def peak(self):
        name = "memory.peak" if self.unified else "memory.max_usage_in_bytes"
        try:
            with open(os.path.join(self.path, name), encoding="ascii") as file:
                return int(file.read())
        except OSError:
            return None

    def remove(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass  # a process of it is still ending


class MemoryGroups:
    """Where such groups can be made; `why_not` if nowhere."""

    def __init__(self):
        self.why_not = "no control group of memory is mounted"
        self.count = 0
        self.parent = None
        for parent, unified in self._candidates():
            self.parent, self.unified = parent, unified
            try:
                self.make(1 << 30).remove()
                self.why_not = None
                return
            except OSError as error:
                self.why_not = f"{parent}: {error.strerror}"
        self.parent = None

    @staticmethod
    def _candidates():
        with open("/proc/self/cgroup", encoding="ascii") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        for _, controllers, path in lines:
            if "memory" in controllers.split(","):
                yield "/sys/fs/cgroup/memory" + path, False
                yield "/sys/fs/cgroup/memory", False
            elif controllers == "" and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
                # A group with processes cannot give memory to its children: its parents may.
                while True:
                    yield "/sys/fs/cgroup" + path.rstrip("/"), True
                    if path in ("", "/"):
                        break
                    path = os.path.dirname(path)

    def make(self, limit):
        self.count += 1
        path = os.path.join(self.parent, f"firn-compare-{os.getpid()}-{self.count}")
        return MemoryGroup(path, self.unified, limit)


def files_below(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(folder, name)


def sync_and_forget(directory, forget):
    """What the page cache owes of the files is written, and, if asked, none of it kept."""
    for path in files_below(directory):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            if forget:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def drop_caches():
    """Of the whole machine; says whether it may."""
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")
        return True
    except OSError:
        return False


def copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-r", "--reflink=auto", source, target], check=True)


def commit_of(root):
    def git(*words):
        done = subprocess.run(["git", "-C", root, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
        return done.stdout.strip()
    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return commit + ("-dirty" if git("status", "--porcelain", "-uno") else "")


def describe():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) << 10
    return {"processor": model, "processors": len(os.sched_getaffinity(0)),
            "memory_bytes": memory, "kernel": os.uname().release,
            "load_average": os.getloadavg()[0]}


FIO_JOBS = (
    ("randread-4k-1", "randread", "4k", 1), ("randread-4k-64", "randread", "4k", 64),
    ("randread-8k-1", "randread", "8k", 1), ("randread-8k-64", "randread", "8k", 64),
    ("randwrite-4k-64", "randwrite", "4k", 64),
    ("read-1m-8", "read", "1m", 8), ("write-1m-8", "write", "1m", 8),
)


def device_limits(directory, seconds, mebibytes):
    """Yields (name, figures) of each job; figures has `failed` if fio is missing or fails."""
    path = os.path.join(directory, "fio-file")
    for name, kind, block, depth in FIO_JOBS:
        command = ["fio", f"--name={name}", f"--filename={path}", f"--rw={kind}", f"--bs={block}",
                   f"--iodepth={depth}", f"--size={mebibytes}m", "--direct=1",
                   "--ioengine=io_uring", "--time_based", f"--runtime={seconds}",
                   "--output-format=json"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, check=False, timeout=60 + 3 * seconds)
            if done.returncode != 0:
                raise ValueError((done.stderr.strip().splitlines() or ["fio failed"])[-1])
            text = done.stdout
            job = json.loads(text[text.index("{"):])["jobs"][0]
            figures = job["write" if "write" in kind else "read"]
            yield name, {"per_second": figures["iops"], "bytes_per_second": figures["bw_bytes"],
                         "p50_us": figures["clat_ns"].get("percentile", {})
                         .get("50.000000", 0) / 1000}
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            yield name, {"failed": str(error)}
    if os.path.exists(path):
        os.remove(path)


def memory_limits(programs, seconds, mebibytes):
    program = os.path.join(programs, "compare_memory")
    try:
        done = subprocess.run([program, str(mebibytes), str(seconds)], stdout=subprocess.PIPE,
                              text=True, check=True, timeout=60 + 4 * seconds)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return {"failed": str(error)}
