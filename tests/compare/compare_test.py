#!/usr/bin/python3
"""What the comparison prints and how it ends, with every engine that was built.

  compare_test.py COMPARE BUILD [GROUP]"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

COMPARE, BUILD = sys.argv[1:3]
ENGINES = ("firn", "rocksdb", "lmdb", "wiredtiger", "leveldb", "bdb", "sqlite")
WORKLOADS = ("load-random", "get-uniform", "ycsb-e")
SMALL = ("--pairs", "2000", "--seconds", "0.05", "--load-seconds", "2", "--minutes", "1",
         "--threads", "1,2", "--no-limits", "--no-plots")


def engines():
    folder = os.path.join(BUILD, "benchmarks", "compare")
    return [name for name in ENGINES if os.path.exists(os.path.join(folder, f"compare_{name}"))]


def run(*arguments, build=BUILD):
    return subprocess.run([COMPARE, "--build", build, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=100, check=False)


def rows(table):
    """{(workload, memory, threads, engine): the rest of the row}"""
    found = {}
    for line in table.splitlines():
        words = line.split()
        if len(words) > 4 and words[1] in ("in", "out") and words[3] in ENGINES:
            found[words[0], words[1], int(words[2]), words[3]] = words[4:]
    return found


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=BUILD)
        self.addCleanup(folder.cleanup)
        self.out = folder.name


class Table(Case):
    def test_every_engine_has_a_row_in_every_cell(self):
        done = run("--only", ",".join(WORKLOADS), "--rounds", "1", "--out", self.out, *SMALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("failed", done.stdout)
        found = rows(done.stdout)
        for engine in engines():
            for workload in WORKLOADS:
                for memory in ("in", "out"):
                    for count in (1,) if workload == "load-random" else (1, 2):
                        row = found[workload, memory, count, engine]
                        self.assertGreater(float(row[0].replace(",", "")), 0)
        self.assertIn("Firn over the best peer", done.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.out, "data")))

        # The same from what was kept.
        path = os.path.join(self.out, "results.jsonl")
        again = run("--table", path, "--no-plots")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(rows(again.stdout), found)
        with open(os.path.join(self.out, "table.json"), encoding="utf-8") as file:
            medians = json.load(file)
        self.assertEqual(len(medians), len(found))
        self.assertEqual(run("--table", path, "--commit", "0" * 12).returncode, 1)


class Rounds(Case):
    def test_rounds_come_in_turns_and_have_a_spread(self):
        done = run("--only", "get-uniform", "--engines", "firn,rocksdb,lmdb", "--in-memory",
                   "--rounds", "3", "--out", self.out, *SMALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.out, "results.jsonl"), encoding="utf-8") as file:
            runs = [record for record in map(json.loads, file)
                    if record.get("workload") == "get-uniform" and record["threads"] == 1]
        self.assertEqual([run["round"] for run in runs], sorted(run["round"] for run in runs))
        for number in (1, 2, 3):
            there = [run["engine"] for run in runs if run["round"] == number]
            self.assertEqual(len(there), len(set(there)))
            self.assertEqual(set(there), {"firn", "rocksdb", "lmdb"} & set(engines()))
        self.assertEqual(rows(done.stdout)["get-uniform", "in", 1, "firn"][1][0], "(")

    def test_every_engine_commits(self):
        done = run("--only", "tx-async", "--in-memory", "--rounds", "1", "--out", self.out, *SMALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = rows(done.stdout)
        for engine in engines():
            self.assertGreater(float(found["tx-async", "in", 1, engine][0].replace(",", "")), 0)

    def test_what_an_engine_cannot_do_is_a_dash(self):
        done = run("--only", "commit-sync", "--engines", "firn,leveldb", "--rounds", "1", "--out",
                   self.out, *SMALL)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = rows(done.stdout)
        for threads in (1, 2, 8, 32):
            self.assertEqual(found["commit-sync", "in", threads, "firn"], ["-"])
            if "leveldb" in engines():
                self.assertGreater(len(found["commit-sync", "in", threads, "leveldb"]), 1)


class Trouble(Case):
    def with_broken(self, engine, script):
        """A build in which this engine's program is the script, and the others are what they
        were."""
        build = os.path.join(self.out, "build")
        folder = os.path.join(build, "benchmarks", "compare")
        os.makedirs(folder)
        program = os.path.join(folder, f"compare_{engine}")
        with open(program, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\nreal={BUILD}/benchmarks/compare/compare_{engine}\n{script}\n")
        os.chmod(program, 0o755)
        for other in engines():
            if other != engine:
                name = f"compare_{other}"
                os.symlink(os.path.join(BUILD, "benchmarks", "compare", name),
                           os.path.join(folder, name))
        return build

    def test_a_mistyped_name_is_answered_with_the_nearest(self):
        for option, wrong, right in (("--only", "get-unifrom", "get-uniform"),
                                     ("--engines", "rockdb", "rocksdb")):
            done = run(option, wrong, "--out", self.out)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"'{wrong}'; the nearest is '{right}'", done.stderr)

    def test_no_programs_is_an_error(self):
        done = run("--out", self.out, *SMALL, build=self.out)
        self.assertEqual(done.returncode, 2)
        self.assertIn("FIRN_BENCHMARKS", done.stderr)

    def test_a_failing_cell_is_shown_and_the_others_go_on(self):
        build = self.with_broken("firn", 'case "$*" in *get-uniform*) echo "it broke" >&2; exit 1;;'
                                 ' esac\nexec "$real" "$@"')
        done = run("--only", "get-uniform,scan-100", "--engines", "firn", "--in-memory",
                   "--out", self.out, *SMALL, build=build)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = rows(done.stdout)
        self.assertEqual(" ".join(found["get-uniform", "in", 1, "firn"]), "failed: it broke")
        self.assertGreater(float(found["scan-100", "in", 2, "firn"][0].replace(",", "")), 0)

    def test_a_failing_load_fails_the_cells_after_it(self):
        build = self.with_broken("firn", 'case "$*" in *--version*) echo 1;;\n'
                                 '*) echo "no space" >&2; exit 1;; esac')
        done = run("--only", "get-uniform", "--engines", "firn", "--in-memory", "--out", self.out,
                   *SMALL, build=build)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("failed: not loaded (no space)", done.stdout)

    def test_an_interrupt_leaves_the_results_so_far(self):
        build = self.with_broken("firn", 'case "$*" in *scan-100*) sleep 60;; esac\n'
                                 'exec "$real" "$@"')
        with subprocess.Popen(
                [COMPARE, "--build", build, "--only", "get-uniform,scan-100", "--engines", "firn",
                 "--in-memory", "--out", self.out, *SMALL],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            for line in child.stderr:
                if "get-uniform" in line:
                    break
            child.send_signal(signal.SIGINT)
            output, _ = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130)
        self.assertIn(("get-uniform", "in", 1, "firn"), rows(output))
        self.assertFalse(os.path.exists(os.path.join(self.out, "data")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
