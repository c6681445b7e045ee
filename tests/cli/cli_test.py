"""Runs the tool `firn` as a user does and checks what it prints and how it exits.

Usage: cli_test.py FIRN WITHOUT_IO_URING [TEST...]
"""
import json
import os
import pty
import re
import resource
import subprocess
import sys
import tempfile
import unittest

FIRN = ""
WITHOUT_IO_URING = ""
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
                     "\n  doctor ", "\n  errors ", "\n  version "):
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
    FIRN, WITHOUT_IO_URING = sys.argv[1:3]
    program = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if len(result.skipped) == result.testsRun else 0)
