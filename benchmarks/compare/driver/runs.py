"""One run of one engine: its files, its process, its lines of results."""
import json
import os
import shutil
import subprocess

from . import machine
from .options import COMMIT_THREADS, LOADS, READS, FIRN_ONLY, budget_of

LOAD_TIMEOUT = 900  # seconds


class Runner:
    def __init__(self, options):
        self.options = options
        self.data = os.path.join(options.out, "data")
        shutil.rmtree(self.data, ignore_errors=True)
        os.makedirs(self.data)
        self.groups = machine.MemoryGroups()
        self.child = None
        self.not_loaded = {}  # engine: why
        self.engines = {}     # engine: version
        for engine in options.engines or []:
            self._find(engine)

    def _program(self, engine):
        return os.path.join(self.options.programs, f"compare_{engine}")

    def _find(self, engine):
        if not os.path.exists(self._program(engine)):
            return
        done = subprocess.run([self._program(engine), "--version"], stdout=subprocess.PIPE,
                              text=True, check=True)
        self.engines[engine] = done.stdout.strip()

    def threads_of(self, workload):
        if workload in LOADS or workload in FIRN_ONLY:
            return [1]
        return list(COMMIT_THREADS) if workload == "commit-sync" else self.options.threads

    def run(self, engine, workload, memory):
        """The results, one a number of threads: dictionaries with a `status`."""
        try:
            return self._run(engine, workload, memory)
        except (OSError, subprocess.SubprocessError) as error:
            return [{"status": "failed", "reason": str(error), "threads": threads}
                    for threads in self.threads_of(workload)]

    def _run(self, engine, workload, memory):
        threads = self.threads_of(workload)
        directory, own = self._files(engine, workload, memory)
        if directory is None:
            reason = f"not loaded ({self.not_loaded.get(engine, 'no load yet')})"
            return [{"status": "failed", "reason": reason, "threads": count} for count in threads]
        machine.sync_and_forget(directory, forget=memory == "out")
        try:
            results, why = self._process(engine, workload, memory, threads, directory)
        finally:
            if own:
                shutil.rmtree(directory, ignore_errors=True)
        if workload == "load-random" and memory == "in" and why is not None:
            self.not_loaded[engine] = why[1]
            shutil.rmtree(directory, ignore_errors=True)
        for count in threads[len(results):]:
            status, reason = why or ("failed", "it printed no results")
            results.append({"status": status, "reason": reason, "threads": count})
        return results

    def _files(self, engine, workload, memory):
        """The directory for a run, and whether it is removed after it."""
        master = os.path.join(self.data, f"{engine}-loaded")
        scratch = os.path.join(self.data, f"{engine}-run")
        if workload in LOADS:
            first = workload == "load-random" and memory == "in" and not os.path.exists(master)
            directory = master if first else scratch
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
            return directory, not first
        if not os.path.isdir(master):
            return None, False
        if workload in READS or workload in FIRN_ONLY:
            return master, False
        machine.copy(master, scratch)
        return scratch, True

    def _process(self, engine, workload, memory, threads, directory):
        """Its results, and (status, reason) if it ended badly."""
        options = self.options
        budget = budget_of(options, memory)
        seconds = options.load_seconds if workload in LOADS else options.seconds
        command = [self._program(engine), "--workload", workload, "--directory", directory,
                   "--pairs", str(options.pairs), "--value", str(options.value),
                   "--budget", str(budget), "--seconds", str(seconds),
                   "--threads", ",".join(map(str, threads)), "--seed", str(options.seed)]
        group = None
        if memory == "out":
            command.append("--out-of-memory")
            if self.groups.parent is not None:
                group = self.groups.make(budget + budget // 4 + (options.slack << 20))
            else:
                machine.drop_caches()
        timeout = LOAD_TIMEOUT if workload in LOADS else 120 + 10 * seconds * len(threads)
        try:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, preexec_fn=group.enter if group else None) as child:
                self.child = child
                try:
                    output, errors = child.communicate(timeout=timeout)
                except subprocess.TimeoutExpired:
                    child.kill()
                    output, errors = child.communicate()
                    errors += f"\ntook longer than {timeout:.0f} s"
                except KeyboardInterrupt:
                    child.kill()
                    raise
            peak = group.peak() if group else None
        finally:
            self.child = None
            if group:
                group.remove()
        results = []
        for line in output.splitlines():
            result = json.loads(line)
            results.append({**result, "status": "ok", "memory_group_peak_bytes": peak})
        return results, self._outcome(child.returncode, errors, group)

    @staticmethod
    def _outcome(code, errors, group):
        last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        if code == 0:
            return None
        if code == 3:
            return "unsupported", last
        if code == -9 and group and not errors.strip():
            return "failed", "killed for want of memory within its limit"
        return "failed", f"{last} (signal {-code})" if code < 0 else last

    def clean(self):
        shutil.rmtree(self.data, ignore_errors=True)
