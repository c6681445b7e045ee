"""Runs the tool `firn` as a user does and checks what it prints and how it exits.

Usage: cli_test.py FIRN WITHOUT_IO_URING MAKE_SEGMENT [TEST...]
"""
import hashlib
import json
import os
import pty
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

FIRN = ""
WITHOUT_IO_URING = ""
MAKE_SEGMENT = ""
SKIPPED = 77
MANUAL = os.path.join(os.path.dirname(__file__), "../../docs/firn.1")


def run(*arguments, prefix=(), **settings):
    return subprocess.run([*prefix, FIRN, *arguments], capture_output=True, text=True,
                          timeout=60, **settings)


def findings(*arguments, **settings):
    """The findings of `firn doctor --json`, by name."""
    result = run("doctor", "--json", *arguments, **settings)
    if result.returncode == SKIPPED:
        raise unittest.SkipTest(result.stderr)
    assert result.returncode == 0, result
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


class Case(unittest.TestCase):
    def refuses(self, expected, *arguments, **settings):
        """The command cannot run: exit code 2, empty stdout, `expected` on stderr."""
        result = run(*arguments, **settings)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (2, "", expected))


class Frame(Case):
    def test_help_names_every_command_and_where_to_begin(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for part in ("Usage: firn", "Begin with:", "Exit codes:", "--json",
                     "\n  check ", "\n  stat ", "\n  bench ", "\n  doctor ",
                     "\n  errors ", "\n  version "):
            self.assertIn(part, result.stdout)
        self.assertEqual(run("-h").stdout, result.stdout)
        self.assertEqual(run("help").stdout, result.stdout)
        self.assertLess(max(map(len, result.stdout.splitlines())), 100)

    def test_every_command_has_help(self):
        commands = re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.M)
        self.assertIn("doctor", commands)
        for command in commands:
            result = run(command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn(f"Usage: firn {command}", result.stdout)
            self.assertIn("--json", result.stdout)
            self.assertEqual(run("help", command).stdout, result.stdout)

    def test_manual_names_every_command(self):
        with open(MANUAL) as file:
            manual = file.read()
        for command in re.findall(r"^  ([a-z]+)  ", run("--help").stdout, re.M):
            self.assertRegex(manual, rf"(?m)^\.BI? {command}\b")

    def test_version(self):
        result = run("--version")
        self.assertRegex(result.stdout, r"^firn \d+\.\d+\.\d+\n$")
        version = result.stdout.split()[1]
        self.assertEqual(json.loads(run("version", "--json").stdout)["firn"], version)
        self.assertEqual(json.loads(run("--json", "version").stdout)["firn"], version)
        self.assertIn(f"firn {version}\n", run("version").stdout)

    def test_unknown_command_names_the_nearest(self):
        for word in ("docotr", "odcotr", "doc", "doctors"):
            self.refuses(f"error: unknown command '{word}'\n"
                         "  where    firn\n"
                         "  next     firn doctor   is the nearest known command\n"
                         "           firn --help   lists the commands\n", word)

    def test_command_like_no_other_gets_no_guess(self):
        for word in ("frobnicate", "", "x", "x" * 100_000):
            self.refuses(f"error: unknown command '{word}'\n"
                         "  where    firn\n"
                         "  next     firn --help   lists the commands\n", word)

    def test_unknown_option_names_the_nearest(self):
        for place in ("firn", "firn doctor"):
            self.refuses("error: unknown option '--jsno'\n"
                         f"  where    {place}\n"
                         f"  next     {place} --json   is the nearest known option\n"
                         f"           {place} --help   lists the options\n",
                         *place.split()[1:], "--jsno")

    def test_no_command(self):
        self.refuses("error: no command was given\n"
                     "  where    firn\n"
                     "  next     firn --help   lists the commands\n"
                     "           firn doctor   is a good first one\n")

    def test_unexpected_argument(self):
        self.refuses("error: unexpected argument 'more'\n"
                     "  where    firn version\n"
                     "  next     firn version --help   shows the arguments it takes\n",
                     "version", "more")

    def test_control_characters_do_not_reach_the_terminal(self):
        self.assertIn(r"'\x1b[31mred\x0a'", run("\033[31mred\n").stderr)

    def test_full_disk_is_noticed(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([FIRN, "errors"], stdout=full, stderr=subprocess.PIPE,
                                    text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("error: the output could not be written in full", result.stderr)

    def test_colour_only_on_a_terminal(self):
        for command in (["doctor"], ["doctr"], ["errors"]):
            result = run(*command, env={**os.environ, "TERM": "xterm"})
            self.assertNotIn("\033", result.stdout + result.stderr)
        self.assertIn("\033[", on_terminal("doctor", TERM="xterm"))
        self.assertIn("\033[", on_terminal("doctr", TERM="xterm"))
        self.assertNotIn("\033", on_terminal("doctor", TERM="dumb"))
        self.assertNotIn("\033", on_terminal("doctor", TERM="xterm", NO_COLOR="1"))
        self.assertNotIn("\033", on_terminal("doctor", "--json", TERM="xterm"))


def on_terminal(*arguments, **variables):
    """What the command prints where stdout and stderr are a terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    master, slave = pty.openpty()
    with subprocess.Popen([FIRN, *arguments], stdout=slave, stderr=slave,
                          env={**environment, **variables}):
        os.close(slave)
        text = b""
        try:
            while part := os.read(master, 65536):
                text += part
        except OSError:  # EIO: the other end is closed
            pass
    os.close(master)
    return text.decode()


class Segment(Case):
    """Tests with a segment's file of their own, in `self.path`."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.path = os.path.join(self.directory.name, "segment")
        self.pages = self.make(self.path)

    @staticmethod
    def make(path, pages=200, checkpoints=4, seed=1):
        """Writes a segment; returns (page, offset, bytes) of its images."""
        made = subprocess.run(
            [MAKE_SEGMENT, path, "--pages", str(pages), "--checkpoints", str(checkpoints),
             "--seed", str(seed)], capture_output=True, text=True, check=True, timeout=60)
        return [tuple(map(int, line.split())) for line in made.stdout.splitlines()]

    def flip(self, offset, bits=0x10):
        with open(self.path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ bits]))

    def digest(self):
        with open(self.path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest(), os.stat(self.path).st_mtime_ns

    def check(self, *arguments, code=0, **settings):
        """`firn check`, which must exit with `code` and leave the file as it was."""
        before = self.digest()
        result = run("check", *arguments, self.path, **settings)
        self.assertEqual(result.returncode, code, result)
        self.assertEqual(self.digest(), before)
        return result

    def blocks(self, text):
        """The error, where and next of each problem in `text`."""
        found = re.findall(r"error: (.+)\n  where    (.+)\n  next     (.+)\n", text)
        self.assertEqual(len(found) * 3, len(text.splitlines()), text)
        return found

    def cannot(self, path, error, command="check", **settings):
        """The command cannot run on `path`: one problem, which names the file."""
        for arguments in ([], ["--json"]):
            result = run(command, *arguments, path, **settings)
            self.assertEqual((result.returncode, result.stdout), (2, ""), result)
            ((found, where, _),) = self.blocks(result.stderr)
            self.assertRegex(found, error)
            self.assertIn(f"'{path}'", where)


class Check(Segment):
    def test_clean(self):
        result = self.check()
        self.assertEqual(result.stderr, "")
        self.assertIn(f"'{self.path}': clean\n", result.stdout)
        self.assertIn("200 verified, 0 of them damaged", result.stdout)
        document = json.loads(self.check("--json").stdout)
        size = os.stat(self.path).st_size
        self.assertEqual({name: document[name] for name in (
            "file", "clean", "complete", "checkpoint", "segment_bytes", "pages", "image_bytes",
            "damaged_pages", "damaged_superblock_copies", "damage")}, {
                "file": self.path, "clean": True, "complete": True, "checkpoint": 5,
                "segment_bytes": size, "pages": 200,
                "image_bytes": sum(length for _, _, length in self.pages),
                "damaged_pages": 0, "damaged_superblock_copies": 0, "damage": []})
        self.assertLess(document["free_bytes"], size)

    def test_clean_where_io_uring_is_refused(self):
        result = self.check(prefix=[WITHOUT_IO_URING])
        self.assertIn("clean", result.stdout)

    def test_segment_without_pages(self):
        os.unlink(self.path)
        self.assertEqual(self.make(self.path, pages=0, checkpoints=0), [])
        self.assertIn("0 verified", self.check().stdout)

    def test_flipped_byte_names_segment_and_page(self):
        for page, offset, length in self.pages[:3] + self.pages[-3:]:
            at = offset + length // 2
            self.flip(at)
            result = self.check(code=1)
            self.assertIn("200 verified, 1 of them damaged", result.stdout)
            ((error, where, _),) = self.blocks(result.stderr)
            self.assertIn("corrupt", error)
            self.assertEqual(where, f"segment 0 ('{self.path}'), page {page}")
            document = json.loads(self.check("--json", code=1).stdout)
            self.assertEqual((document["clean"], document["damaged_pages"]), (False, 1))
            (damage,) = document["damage"]
            self.assertEqual((damage["code"], damage["segment"], damage["page"]),
                             ("corrupt", 0, page))
            self.flip(at)
        self.check()

    def test_every_damaged_page_is_named(self):
        for _, offset, length in self.pages:
            self.flip(offset + length - 1)
        result = self.check(code=1)
        named = [int(where.rsplit(" ", 1)[1]) for _, where, _ in self.blocks(result.stderr)]
        self.assertEqual(sorted(named), sorted(page for page, _, _ in self.pages))

    def test_list_of_damage_is_bounded(self):
        os.unlink(self.path)
        for _, offset, length in self.make(self.path, pages=1100, checkpoints=1):
            self.flip(offset + length - 1)
        document = json.loads(self.check("--json", code=1).stdout)
        self.assertEqual((document["damaged_pages"], len(document["damage"])), (1100, 1000))
        self.assertIn("error: 100 more pages are damaged and not listed\n",
                      self.check(code=1).stderr)

    def test_damaged_superblock_copy(self):
        self.flip(100)
        self.assertEqual(json.loads(self.check("--json", code=1).stdout)
                         ["damaged_superblock_copies"], 1)
        result = self.check(code=1)
        self.assertIn("200 verified, 0 of them damaged", result.stdout)
        ((error, _, following),) = self.blocks(result.stderr)
        self.assertIn("1 of the 4 superblock copies", error)
        self.assertIn("open the domain", following)

    def test_damaged_superblocks_are_damage(self):
        for copy in range(4):
            self.flip(copy * 16384 + 100)
        ((error, _, _),) = self.blocks(self.check(code=1).stderr)
        self.assertIn("no superblock is whole", error)
        document = json.loads(self.check("--json", code=1).stdout)
        self.assertEqual((document["clean"], document["complete"], len(document["damage"])),
                         (False, False, 1))

    def test_damaged_manifest_is_damage(self):
        with open(self.path, "rb") as file:
            area = file.read(65536)
        # docs/format.md; lib/format/superblock.hpp
        number, location = max(struct.unpack_from("<Q16xQ", area, copy * 16384 + 48)
                               for copy in range(4))
        self.assertEqual(number, 5)
        self.flip((location >> 32 & 0xffffff) * (1 << 20) + (location >> 12 & 0xfffff) * 512 + 70)
        for command in ("check", "stat"):
            result = run(command, self.path)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            ((error, where, _),) = self.blocks(result.stderr)
            self.assertIn("the image's checksum does not match", error)
            self.assertTrue(where.startswith(f"segment 0 ('{self.path}')"), where)
        document = json.loads(self.check("--json", code=1).stdout)
        self.assertEqual((document["clean"], document["complete"]), (False, False))

    def test_file_cut_short_is_damage(self):
        # Behind its superblocks: what it was is known, and what is lost.
        for size in (3_000_000, 5_000_000):
            with self.subTest(size=size):
                os.truncate(self.path, size)
                ((error, where, _),) = self.blocks(self.check(code=1).stderr)
                self.assertIn("corrupt", error)
                self.assertIn(f"'{self.path}'", where)
                self.make_again()

    def make_again(self):
        os.unlink(self.path)
        self.make(self.path)

    def test_file_cut_in_its_superblocks(self):
        for size in (65535, 1000, 511, 0):
            os.truncate(self.path, size)
            self.cannot(self.path, "not_found: .*no Firn segment: it ends after [0-9]+ bytes")

    def test_file_of_somebody_else(self):
        with open(self.path, "wb") as file:
            file.write(b"Nothing of Firn. " * 100_000)
        self.cannot(self.path, "no Firn segment: there is no superblock")
        with open(self.path, "wb") as file:
            file.truncate(1 << 20)
        self.cannot(self.path, "no Firn segment: there is no superblock")

    def test_no_such_file(self):
        nowhere = os.path.join(self.directory.name, "nowhere")
        self.cannot(nowhere, r"No such file or directory")
        self.cannot(os.path.join(nowhere, "segment"), r"No such file or directory")
        self.assertFalse(os.path.exists(nowhere))
        self.assertIn("error: FILE is required", run("check").stderr)

    def test_no_regular_file(self):
        self.cannot(self.directory.name, "not a regular file")
        link = os.path.join(self.directory.name, "link")
        os.symlink(self.path, link)
        self.cannot(link, "not a regular file")
        self.cannot("/dev/null", "not a regular file")

    def test_no_permission(self):
        settings = {}
        if os.geteuid() == 0:
            nobody = 65534
            os.chown(self.path, nobody, nobody)
            os.chmod(self.directory.name, 0o755)
            settings = {"preexec_fn": lambda: (os.setgroups([]), os.setgid(nobody),
                                               os.setuid(nobody)), "prefix": [self.copy_of_firn()]}
        os.chmod(self.path, 0)
        self.cannot(self.path, "Permission denied", **settings)

    def copy_of_firn(self):
        """Something that execs a copy of the tool that every user can reach."""
        copy = shutil.copy(FIRN, self.directory.name)
        os.chmod(copy, 0o755)
        script = os.path.join(self.directory.name, "run")
        with open(script, "w") as file:
            file.write(f'#!/bin/sh\nshift\nexec "{copy}" "$@"\n')
        os.chmod(script, 0o755)
        return script

    def test_busy_while_another_writes(self):
        other = os.path.join(self.directory.name, "other")
        with subprocess.Popen([MAKE_SEGMENT, other, "--hold"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as holder:
            for _ in range(200):  # it prints its pages when all is written
                holder.stdout.readline()
            self.cannot(other, rf"busy: .*process {holder.pid} \(make_segment\)")
            self.cannot(other, "busy", command="stat")
            holder.stdin.close()
        self.path = other
        self.check()

    def test_file_may_be_read_only(self):
        os.chmod(self.path, 0o400)
        self.check()


class Stat(Segment):
    def test_numbers_add_up(self):
        before = self.digest()
        document = json.loads(run("stat", "--json", self.path).stdout)
        self.assertEqual(self.digest(), before)
        self.assertEqual([document[name] for name in ("file", "checkpoint", "open_count")],
                         [self.path, 5, 1])
        self.assertEqual(document["segment_bytes"], os.stat(self.path).st_size)
        images = {}
        for page, _, length in self.pages:
            images.setdefault(page >> 44, []).append(length)
        self.assertEqual(len(document["classes"]), 9)
        for size_class, row in enumerate(document["classes"]):
            lengths = images.get(size_class, [])
            self.assertEqual(row, {"page_bytes": 4096 << size_class, "pages": len(lengths),
                                   "image_bytes": sum(lengths)})
        self.assertEqual(document["pages"], 200)
        self.assertEqual([group["name"] for group in document["groups"]],
                         ["leaves", "runs", "other"])

        def total(name):
            return sum(group[name] for group in document["groups"])
        live = document["image_bytes"] + document["mapping_bytes"] + 65536
        self.assertEqual(total("live_bytes"), live)
        self.assertEqual(total("pending_bytes"), document["pending_bytes"])
        self.assertEqual(total("chunks") + document["empty_chunks"],
                         document["segment_bytes"] // document["chunk_bytes"])
        self.assertEqual(live + document["pending_bytes"] + document["free_bytes"],
                         document["segment_bytes"])
        self.assertTrue(0 <= document["fragmentation"] < 1)

    def test_text(self):
        result = run("stat", self.path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for part in ("checkpoint     5, opened for writing 1 times", "pages          200",
                     "\n      4 KiB ", "\n  leaves ", "\n  other "):
            self.assertIn(part, result.stdout)

    def test_pages_are_not_read(self):
        for _, offset, _ in self.pages:
            self.flip(offset)
        self.assertEqual(run("stat", self.path).returncode, 0)

    def test_file_of_somebody_else(self):
        self.cannot("/dev/null", "not a regular file", command="stat")


class Bench(Case):
    def test_evict_prints_an_object_per_line(self):
        result = run("bench", "evict", "--json", "--pages", "512")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        measured = [line for line in lines if "skipped" not in line]
        self.assertEqual([line["batch"] for line in measured if line["by"] == "madvise"],
                         [1, 64, 512])
        self.assertEqual(lines[-1]["by"], "pool")
        for line in measured:
            self.assertEqual((line["bench"], line["page_bytes"]), ("evict", 4096))
            self.assertEqual(line["pages"], 4 * 512)
            self.assertGreater(line["pages_per_second"], 0)
            if line["by"] == "process_madvise":
                self.assertEqual(line["system_calls"], line["pages"] // line["batch"])

    def test_evict_as_text(self):
        result = run("bench", "evict", "--pages", "256")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\nthe pool's loop .* million pages/s\n$")

    def measured(self, *arguments):
        result = run("bench", *arguments, "--memory", "2MiB", "--json")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return [json.loads(line) for line in result.stdout.splitlines()]

    def test_table_benchmarks_print_an_object_per_line(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pairs")
            pairs = ("--pairs", "20000", "--file", path, "--leaf-size", "8192")
            (fill,) = self.measured("fill", "--order", "random", *pairs)
            self.assertEqual((fill["bench"], fill["pairs"], fill["operations"], fill["order"]),
                             ("fill", 20000, 20000, "random"))
            self.assertGreater(fill["written_per_user_byte"], 1)
            (scan,) = self.measured("scan", *pairs)
            self.assertEqual((scan["operations"], scan["leaf_bytes"]), (20000, 8192))
            (get,) = self.measured("get", "--in-flight", "1", "--seconds", "0.05", *pairs)
            self.assertGreater(get["device_reads"], 0)
            self.assertGreaterEqual(get["p99_us"], get["p50_us"])
            lines = self.measured("in-flight", "--threads", "2", "--seconds", "0.02", *pairs)
            self.assertEqual([line["in_flight"] for line in lines],
                             [1, 4, 16, 64, 256, 1000, 4000, 10000])
            for line in (fill, scan, get, *lines):
                self.assertEqual((line["memory_budget"], line["value_bytes"]), (2 << 20, 100))
                for name in ("operations_per_second", "operations_per_processor_second",
                             "resident_bytes"):
                    self.assertGreater(line[name], 0)
            self.assertEqual(run("bench", "fill", "--file", path).returncode, 2)
            other = run("bench", "get", "--pairs", "19999", "--file", path)
            self.assertIn("other pairs than those asked for", other.stderr)

    def test_unknown_benchmark_names_the_nearest(self):
        self.refuses("error: unknown benchmark 'evcit'\n"
                     "  where    firn bench\n"
                     "  next     firn bench evict    is the nearest known one\n"
                     "           firn bench --help   lists the benchmarks\n", "bench", "evcit")

    def test_wrong_number_of_pages(self):
        for number in ("0", "-1", "many", "99999999999"):
            result = run("bench", "evict", "--pages", number)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn("error: --pages: ", result.stderr)

    def test_wrong_options_of_a_table(self):
        for option, value in (("--leaf-size", "5000"), ("--in-flight", "0"), ("--memory", "much"),
                              ("--value-size", "7"), ("--order", "any"), ("--seconds", "0")):
            result = run("bench", "get", option, value)
            self.assertEqual((result.returncode, result.stdout), (2, ""))


class Errors(Case):
    def test_every_code_has_a_next_step(self):
        errors = json.loads(run("errors", "--json").stdout)["errors"]
        self.assertGreaterEqual(len(errors), 20)
        self.assertEqual(len({error["number"] for error in errors}), len(errors))
        text = run("errors").stdout
        for error in errors:
            self.assertTrue(error["next"])
            self.assertRegex(text, rf"(?m)^ +{error['number']}  {error['code']} +\S")

    def test_one_code(self):
        self.assertEqual(json.loads(run("errors", "no_space", "--json").stdout)["errors"],
                         [{"code": "no_space", "number": 12,
                           "next": "grow or add a segment, or erase something"}])

    def test_unknown_code_names_the_nearest(self):
        self.refuses("error: unknown error code 'nospace'\n"
                     "  where    firn errors\n"
                     "  next     firn errors no_space   is the nearest known code\n"
                     "           firn errors            lists all codes\n", "errors", "nospace")


class Doctor(Case):
    names = ["kernel", "processor", "numa", "clock", "memory", "memory_limit", "overcommit",
             "reservation", "process_madvise", "guard_pages", "exmap", "huge_pages",
             "transparent_huge_pages", "memlock_limit", "open_files_limit", "io_uring",
             "direct_io", "rdma"]

    def test_findings_are_complete(self):
        document = json.loads(run("doctor", "--json").stdout)
        self.assertEqual(list(document), ["directory", "findings"])
        self.assertEqual([finding["name"] for finding in document["findings"]], self.names)
        for finding in document["findings"]:
            self.assertEqual(list(finding), ["name", "state", "found", "consequence", "advice"])
            self.assertIn(finding["state"], ("ok", "limited", "missing"))
            self.assertTrue(finding["found"])
            # What is not ok says what follows and what helps; what is ok needs neither.
            for part in ("consequence", "advice"):
                self.assertEqual(finding[part] != "", finding["state"] != "ok", finding)

    def test_text_has_a_line_per_finding(self):
        result = run("doctor")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = re.findall(r"^(?:ok|limited|missing) +([a-z_]+) +\S", result.stdout, re.M)
        self.assertEqual(lines, self.names)
        self.assertRegex(result.stdout, r"\n\d+ ok, \d+ limited, \d+ missing;.*\n$")

    def test_directory_is_probed_and_left_alone(self):
        with tempfile.TemporaryDirectory() as directory:
            before = os.stat(directory).st_mtime_ns
            self.assertIn(findings(directory)["direct_io"]["state"], ("ok", "limited"))
            self.assertEqual(os.listdir(directory), [])
            self.assertEqual(os.stat(directory).st_mtime_ns, before)

    def test_directory_without_files_is_a_finding(self):
        finding = findings("/proc")["direct_io"]
        self.assertEqual(finding["state"], "missing")

    def test_directory_that_is_none_cannot_be_examined(self):
        for path, why in (("/nowhere", "No such file or directory (ENOENT)"),
                          ("/dev/null", "Not a directory (ENOTDIR)")):
            self.refuses(f"error: no such place for data files: {why}\n"
                         f"  where    '{path}'\n"
                         "  next     firn doctor       examines the current directory\n"
                         "           firn doctor DIR   examines a directory that exists\n",
                         "doctor", "--json", path)

    def test_json_is_valid_for_any_directory_name(self):
        with tempfile.TemporaryDirectory() as directory:
            strange = os.path.join(os.fsencode(directory), b"\xff\n\"")
            os.mkdir(strange)
            self.assertIn("direct_io", findings(os.fsdecode(strange)))


class Refused(Case):
    def test_io_uring_refused_by_a_filter(self):
        for flags, error in (([], "EPERM"), (["--enosys"], "ENOSYS")):
            finding = findings(prefix=[WITHOUT_IO_URING, *flags])["io_uring"]
            self.assertEqual(finding["state"], "missing")
            self.assertIn(error, finding["found"])
            self.assertIn("seccomp", finding["advice"] + finding["found"])

    def test_launcher_passes_on_the_exit_code(self):
        self.assertEqual(run("doctr", prefix=[WITHOUT_IO_URING]).returncode, 2)
        self.assertEqual(subprocess.run([WITHOUT_IO_URING], capture_output=True).returncode, 2)


class Limits(Case):
    def limited(self, kind, soft, hard):
        """The findings under a resource limit, or a skip where it may not be set."""
        try:
            return findings(preexec_fn=lambda: resource.setrlimit(kind, (soft, hard)))
        except subprocess.SubprocessError as problem:
            raise unittest.SkipTest(f"this limit may not be set here: {problem}")

    def test_memlock(self):
        low = self.limited(resource.RLIMIT_MEMLOCK, 65536, 65536)["memlock_limit"]
        self.assertEqual(low["state"], "limited")
        self.assertIn("64 KiB, hard limit 64 KiB", low["found"])
        self.assertIn("ulimit -l", low["advice"])

    def test_memlock_unlimited(self):
        unlimited = resource.RLIM_INFINITY
        high = self.limited(resource.RLIMIT_MEMLOCK, unlimited, unlimited)["memlock_limit"]
        self.assertEqual((high["state"], high["found"]), ("ok", "unlimited, hard limit unlimited"))

    def test_open_files(self):
        low = self.limited(resource.RLIMIT_NOFILE, 64, 64)["open_files_limit"]
        self.assertEqual((low["state"], low["found"]), ("limited", "64, hard limit 64"))

    def test_address_space(self):
        if json.loads(run("version", "--json").stdout)["sanitizer"] != "none":
            self.skipTest("the sanitizer reserves terabytes for itself")
        limit = 8 << 30
        low = self.limited(resource.RLIMIT_AS, limit, limit)["reservation"]
        self.assertEqual(low["state"], "limited")
        self.assertIn("64 TiB was refused: Cannot allocate memory (ENOMEM)", low["found"])


if __name__ == "__main__":
    FIRN, WITHOUT_IO_URING, MAKE_SEGMENT = sys.argv[1:4]
    program = unittest.main(argv=[sys.argv[0], *sys.argv[4:]], exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if len(result.skipped) == result.testsRun else 0)
