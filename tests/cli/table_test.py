"""Runs the commands of `firn` that work on the tables of a native domain.

Usage: table_test.py FIRN WITHOUT_IO_URING MAKE_DATABASE [TEST...]
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import cli_test
from cli_test import Case, run

MAKE_DATABASE = ""


def load(path, text, *arguments):
    return run("load", path, *arguments, input=text)


def dump_of(pairs):
    """The dump of one table, as `firn dump --table` writes it."""
    lines = [f" {part.hex()}\n" for key in sorted(pairs) for part in (key, pairs[key])]
    return ("VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n" + "".join(lines) +
            "DATA=END\n")


def binary_pairs(count=2000, seed=1):
    """Keys and records of any bytes, records up to more than a leaf allows."""
    chance = random.Random(seed)
    return {chance.randbytes(chance.randint(1, 200)):
            chance.randbytes(chance.choice((0, 5, 50, 3000))) for _ in range(count)}


class Tables(Case):
    """Tests with a directory of their own, and perhaps a domain in `self.path`."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.path = self.file("domain")

    def file(self, name):
        return os.path.join(self.directory.name, name)

    def make(self, *arguments):
        subprocess.run([MAKE_DATABASE, self.path, *arguments], check=True, timeout=60)

    def ok(self, *arguments, **settings):
        result = run(*arguments, **settings)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)
        return result.stdout

    def document(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def fails(self, code, error, *arguments, **settings):
        """One problem on stderr that says what is wrong and what to do; nothing on stdout."""
        result = run(*arguments, **settings)
        self.assertEqual((result.returncode, result.stdout), (code, ""), result)
        self.assertRegex(result.stderr, rf"^error: .*{error}.*\n  where    .+\n  next     .+\n")
        return result.stderr

    def content(self):
        with open(self.path, "rb") as file:
            return file.read()

    def damage(self, text):
        """Changes a byte of the file where a record with that text stands."""
        content = bytearray(self.content())
        found = 0
        at = content.find(text)
        while at >= 0:  # older images as well
            content[at] ^= 0x20
            found += 1
            at = content.find(text)
        self.assertGreater(found, 0)
        with open(self.path, "wb") as file:
            file.write(content)


class Show(Tables):
    def test_schema(self):
        self.make()
        before = self.content()
        tables = {table["name"]: table for table in self.document("schema", self.path)["tables"]}
        self.assertEqual(self.content(), before)
        self.assertEqual(list(tables),
                         ["words", "numbers", "entries", "bodies", "backwards", "scratch"])
        entries = tables["entries"]
        self.assertEqual((entries["type"], entries["version_major"], entries["version_minor"],
                          entries["key"], entries["record"], entries["references"]),
                         ("test.entries", 2, 1, "parent:u64,name:string",
                          "target:ref(test.numbers),links:u32", ["numbers"]))
        self.assertEqual([name for name in tables if tables[name]["sack"]], ["bodies"])
        self.assertEqual([name for name in tables if tables[name]["volatile"]], ["scratch"])
        self.assertEqual(tables["backwards"]["comparator"], "test.backwards")
        text = self.ok("schema", self.path)
        for part in ("table 'words'\n  type        'test.words' 1.0\n  key         string\n",
                     "sack 'bodies'", "1.0, volatile", "  references  'numbers'\n",
                     "  comparator  'test.backwards'\n"):
            self.assertIn(part, text)

    def test_get(self):
        self.make()
        before = self.content()
        self.assertEqual(self.ok("get", self.path, "words", "word 17"), "meaning 17\n")
        self.assertEqual(self.ok("get", self.path, "words", r"wor\64 \31\37"), "meaning 17\n")
        self.assertEqual(self.ok("get", self.path, "numbers", "99"), "n" * 20 + "\n")
        self.assertEqual(self.ok("get", self.path, "numbers", "57"), "n" * 3000 + "\n")
        self.assertEqual(self.ok("get", "--hex", self.path, "numbers", "0000000000000063"),
                         b"n".hex() * 20 + "\n")
        # The table 3 ("numbers"), a key of 8 bytes, and one link.
        self.assertEqual(self.ok("get", self.path, "entries", r"\00" * 7 + r"\0117"),
                         r"\03\08" + r"\00" * 7 + r"\11\01\00\00\00" + "\n")
        self.assertEqual(self.document("get", self.path, "words", "word 17"),
                         {"table": "words", "key": "word 17", "record": "meaning 17"})
        self.assertEqual(self.content(), before)

    def test_get_what_is_not_there(self):
        self.make()
        self.fails(1, "no pair has the key 'word'", "get", self.path, "words", "word")
        self.fails(1, "no pair has the key '1000'", "get", self.path, "numbers", "1000")
        error = self.fails(2, "no table 'wrods'", "get", self.path, "wrods", "word 17")
        self.assertIn("'words'", error)
        self.assertIn(f"firn schema {self.path}", error)

    def test_keys_that_are_none(self):
        self.make()
        for key in ("", "-1", "1x", "18446744073709551616"):
            self.fails(2, "the key is not a number", "get", "--", self.path, "numbers", key)
        self.fails(2, "the key is not hexadecimal digits", "get", "--hex", self.path, "words",
                   "abc")
        for key in ("a\\", "a\\g0", "\\0"):
            self.fails(2, "the key is not text", "get", self.path, "words", key)

    def test_scan(self):
        self.make()
        before = self.content()
        lines = self.ok("scan", self.path, "numbers", "--keys").splitlines()
        self.assertEqual(lines, [str(number) for number in range(100)])
        lines = self.ok("scan", self.path, "numbers", "--from", "5", "--to", "8").splitlines()
        self.assertEqual(lines, [f"{number}\t{'n' * (3000 if number == 7 else 20)}"
                                 for number in (5, 6, 7)])
        for arguments, expected in ((["--from", "97", "--reverse"], ["99", "98", "97"]),
                                    (["--to", "2", "--reverse"], ["1", "0"]),
                                    (["--limit", "2"], ["0", "1"]), (["--from", "100"], []),
                                    (["--to", "0"], []), (["--limit", "0"], [])):
            lines = self.ok("scan", self.path, "numbers", "--keys", *arguments).splitlines()
            self.assertEqual(lines, expected)
        lines = self.ok("scan", self.path, "words", "--from", "word 98", "--json").splitlines()
        self.assertEqual([json.loads(line) for line in lines],
                         [{"key": f"word {number}", "record": f"meaning {number}"}
                          for number in (98, 99)])
        lines = self.ok("scan", self.path, "bodies", "--keys", "--hex", "--limit", "1")
        self.assertEqual(lines, "000000000000000100000001\n")
        self.assertEqual(self.content(), before)
        self.fails(2, "the key after --to is not a number", "scan", self.path, "numbers",
                   "--to", "x")

    def test_own_comparator_is_refused(self):
        self.make()
        for command in (["get", self.path, "backwards", "1"], ["scan", self.path, "backwards"],
                        ["dump", self.path, "--table", "backwards"],
                        ["put", self.path, "backwards", "1", "x"],
                        ["del", self.path, "backwards", "1"]):
            self.assertIn("the table's type", self.fails(2, "comparator of their own", *command))

    def test_stat_of_tables(self):
        self.make("--pairs", "1000")
        tables = {table["name"]: table for table in
                  self.document("stat", self.path)["tables"]}
        self.assertEqual(len(tables), 6)
        words = tables["words"]
        self.assertEqual((words["pairs"], words["leaf_bytes"], words["value_threshold"],
                          words["volatile"]), (1000, 8192, 2048, False))
        self.assertEqual(tables["numbers"]["leaf_bytes"], 4096)
        self.assertEqual(words["placement"], {"inner": "", "leaves": "", "values": ""})
        self.assertNotIn("tree", words)
        (words,) = self.document("stat", self.path, "--table", "words", "--tree")["tables"]
        self.assertEqual((words["tree"]["levels"], words["tree"]["pairs"]), (2, 1000))
        text = self.ok("stat", self.path, "--tree")
        self.assertIn("  8 KiB        > 2048  'words'\n", text)
        self.assertIn("fan-out", text)
        self.fails(2, "no table 'word'", "stat", self.path, "--table", "word")

    def test_files_that_are_none(self):
        nowhere = self.file("nowhere")
        for command in (["stat"], ["schema"], ["tree", "t"], ["get", "t", "k"],
                        ["put", "t", "k", "r"], ["del", "t", "k"], ["scan", "t"], ["dump"]):
            self.fails(2, "No such file or directory", command[0], nowhere, *command[1:])
            self.assertFalse(os.path.exists(nowhere))
        with open(nowhere, "w") as file:
            file.write("x" * 10_000_000)
        for command in (["schema"], ["get", "t", "k"], ["dump"]):
            self.fails(2, "no Firn segment", command[0], nowhere, *command[1:])

    def test_busy_while_another_writes(self):
        with subprocess.Popen([MAKE_DATABASE, self.path, "--hold"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as holder:
            holder.stdout.readline()
            for command in (["schema"], ["scan", "words"], ["put", "words", "a", "b"],
                            ["load", "--table", "t"]):
                error = self.fails(2, "busy", command[0], self.path, *command[1:],
                                   input=dump_of({}))
                self.assertIn(str(holder.pid), error)
            holder.stdin.close()
        self.ok("schema", self.path)


class Trees(Tables):
    def test_tree(self):
        self.make("--pairs", "3000")
        document = self.document("tree", self.path, "numbers")
        self.assertEqual((document["table"], document["leaf_bytes"], document["pairs"],
                          document["value_pages"], document["levels"]),
                         ("numbers", 4096, 3000, 60, 2))
        self.assertEqual(document["inner_pages"], 1)
        self.assertEqual(document["fan_out"], document["leaf_pages"])
        self.assertTrue(0.65 < document["leaf_fill"] <= 1)
        self.assertIn("  levels       2\n", self.ok("tree", self.path, "numbers"))
        self.assertEqual(self.document("tree", self.path, "backwards")["pairs"], 3000)
        self.fails(2, "no table 'number'", "tree", self.path, "number")

    def test_check_counts_each_table(self):
        self.make("--pairs", "1000")
        before = self.content()
        document = self.document("check", self.path)
        self.assertEqual(self.content(), before)
        self.assertEqual((document["clean"], document["damaged_trees"],
                          document["unreachable_pages"]), (True, 0, 0))
        self.assertEqual([table["name"] for table in document["tables"]],
                         ["words", "numbers", "entries", "bodies", "backwards", "scratch"])
        for table in document["tables"]:
            self.assertTrue(table["whole"])
            self.assertEqual(table["pairs"], 1000)
            if table["name"] != "scratch":
                self.assertEqual(table["catalogued_pairs"], 1000)
        self.assertIn("  table       'words': 1000 pairs\n", self.ok("check", self.path))

    def test_damaged_page_names_its_table(self):
        self.make()
        self.damage(b"meaning 50")
        result = run("check", self.path)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"(?s)^error: corrupt.*\n  where    segment 0 \('.*'\), "
                                        r"page \d+, table 'words'\n  next     restore")
        self.assertEqual(result.stderr.count("error:"), 1)
        self.assertIn("  table       'words': not whole\n", result.stdout)
        self.assertIn("  table       'numbers': 100 pairs\n", result.stdout)
        document = json.loads(run("check", "--json", self.path).stdout)
        self.assertEqual((document["damaged_pages"], document["damaged_trees"]), (1, 1))
        for command in (["get", "words", "word 50"], ["tree", "words"], ["scan", "words"],
                        ["stat", "--tree"], ["dump", "--table", "words"],
                        ["put", "words", "word 50", "x"], ["del", "words", "word 50"]):
            error = self.fails(1, "corrupt", command[0], self.path, *command[1:])
            self.assertIn("where    table 'words' in", error)
            self.assertIn(f"firn check {self.path}", error)
        self.assertEqual(len(self.ok("scan", self.path, "numbers").splitlines()), 100)

    def test_table_with_the_root_of_another(self):
        self.make("--spoil", "root")
        document = json.loads(run("check", "--json", self.path).stdout)
        self.assertEqual((document["clean"], document["damaged_pages"],
                          document["damaged_trees"]), (False, 0, 1))
        (damage,) = document["damage"]
        self.assertEqual((damage["code"], damage["table"]), ("corrupt", 2))
        self.assertEqual([table["name"] for table in document["tables"] if not table["whole"]],
                         ["words"])
        self.assertRegex(run("check", self.path).stderr, r"page \d+, table 'words'\n")
        self.fails(1, "corrupt", "get", self.path, "words", "word 1")

    def test_pages_of_no_table(self):
        self.make("--spoil", "row")
        document = json.loads(run("check", "--json", self.path).stdout)
        self.assertEqual((document["clean"], document["damaged_trees"],
                          document["unreachable_pages"]), (False, 0, 2))
        result = run("check", self.path)
        self.assertEqual(result.returncode, 1)
        self.assertIn("error: 2 pages belong to no table\n", result.stderr)

    def test_damaged_catalogue(self):
        self.make()
        self.damage(b"test.numbers")
        result = run("check", self.path)
        self.assertEqual(result.returncode, 1)
        self.assertIn("table 1\n", result.stderr)
        for command in (["schema"], ["stat"], ["get", "words", "word 1"], ["dump"]):
            self.fails(1, "corrupt", command[0], self.path, *command[1:])


class Change(Tables):
    def test_put_and_del(self):
        self.make()
        self.assertEqual(self.ok("put", self.path, "words", "new", r"a\00\\b"), "")
        self.assertEqual(self.ok("get", self.path, "words", "new"), "a\\00\\5cb\n")
        self.ok("put", self.path, "numbers", "18446744073709551615", "last")
        self.assertEqual(self.ok("scan", self.path, "numbers", "--reverse", "--limit", "1"),
                         "18446744073709551615\tlast\n")
        self.ok("put", "--hex", self.path, "words", b"new".hex(), "0aff")
        self.assertEqual(self.ok("get", self.path, "words", "new"), "\\0a\\ff\n")
        self.assertEqual(self.document("put", self.path, "words", "new", "x"),
                         {"table": "words", "key": "new", "put": True})
        self.assertEqual(self.ok("del", self.path, "words", "new"), "")
        self.fails(1, "no pair has the key 'new'", "del", self.path, "words", "new")
        self.fails(1, "no pair has the key 'new'", "get", self.path, "words", "new")
        self.assertEqual(self.document("del", self.path, "words", "word 1"),
                         {"table": "words", "key": "word 1", "erased": True})
        self.assertTrue(self.document("check", self.path)["clean"])

    def test_keys_that_look_like_options(self):
        self.make()
        self.ok("put", "--", self.path, "words", "--hex", "-1")
        self.assertEqual(self.ok("get", self.path, "words", "--", "--hex"), "-1\n")
        self.assertIn("unknown option '--key'",
                      run("get", self.path, "words", "a", "--key").stderr)

    def test_what_cannot_be_put(self):
        self.make()
        self.fails(2, "the record is not text", "put", self.path, "words", "a", "\\")
        self.fails(2, "the key is not a number", "put", self.path, "numbers", "a", "b")
        self.fails(2, "no table 'w'", "put", self.path, "w", "a", "b")
        self.fails(2, "a sack", "put", self.path, "bodies", "a", "b")
        self.fails(2, "a key has at most 2048 bytes", "put", self.path, "words", "k" * 3000, "b")
        self.assertIn("RECORD is required", run("put", self.path, "words", "a").stderr)
        self.assertEqual(len(self.ok("scan", self.path, "words").splitlines()), 100)


class Dump(Tables):
    def test_round_trip_of_a_table(self):
        pairs = binary_pairs()
        text = dump_of(pairs)
        self.assertEqual(load(self.path, text, "--table", "t").stdout,
                         f"'t': {len(pairs)} pairs\n")
        self.assertEqual(self.ok("dump", self.path, "-t", "t"), text)
        printed = self.ok("dump", self.path, "-t", "t", "--print")
        self.assertIn("\nformat=print\n", printed)
        other = self.file("other")
        self.assertEqual(load(other, printed, "-t", "t").returncode, 0)
        self.assertEqual(self.ok("dump", other, "-t", "t"), text)
        (table,) = self.document("schema", self.path)["tables"]
        self.assertEqual((table["type"], table["key"]), ("bytes", "bytes"))
        self.assertTrue(self.document("check", self.path)["clean"])

    def test_round_trip_of_all_tables(self):
        for seed, name in enumerate(("one", "with blank", "b\\ck", "a=b")):
            self.assertEqual(load(self.path, dump_of(binary_pairs(50, seed)),
                                  "--table", name).returncode, 0)
        self.assertEqual(load(self.path, dump_of({}), "--table", "empty").returncode, 0)
        whole = self.ok("dump", self.path)
        self.assertEqual(whole.count("DATA=END"), 5)
        self.assertIn("\ndatabase=b\\5cck\n", whole)
        other = self.file("other")
        self.assertEqual([table["name"] for table in json.loads(
            load(other, whole, "--json").stdout)["tables"]],
            ["one", "with blank", "b\\ck", "a=b", "empty"])
        self.assertEqual(self.ok("dump", other), whole)
        with open(self.file("dump"), "w") as file:
            file.write(whole)
        third = self.file("third")
        self.ok("load", third, "--file", self.file("dump"))
        self.assertEqual(self.ok("dump", third, "--print"), self.ok("dump", self.path, "--print"))

    def test_typed_tables_keep_their_type(self):
        self.make()
        text = self.ok("dump", self.path, "--table", "words")
        self.ok("del", self.path, "words", "word 1")
        self.assertEqual(load(self.path, text, "--table", "words").returncode, 0)
        self.assertEqual(self.ok("dump", self.path, "--table", "words"), text)
        self.assertEqual(self.document("schema", self.path)["tables"][0]["type"], "test.words")
        self.assertIn("a sack", load(self.path, text, "--table", "bodies").stderr)

    def test_dumps_that_are_none(self):
        head = "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n"
        for text, error, line in (
                ("", "the input is empty", 0), ("x\n", "NAME=VALUE", 1),
                ("format=print\n", "begins with VERSION=3", 1),
                ("VERSION=2\n", "begins with VERSION=3", 1),
                ("VERSION=3\nformat=xml\n", "neither bytevalue nor print", 2),
                ("VERSION=3\ntype=recno\n", "neither btree nor hash", 2),
                ("VERSION=3\nduplicates=1\n", "several records", 2),
                ("VERSION=3\n", "ends within a header", 1),
                (head + " 61\n 62\n", "ends before DATA=END", 6),
                (head + " 61\nDATA=END\n", "a key without a record", 6),
                (head + "61\n", "not a blank and hexadecimal digits", 5),
                (head + " 6\n", "hexadecimal digits", 5), (head + " 6g\n", "hexadecimal", 5)):
            with self.subTest(text=text):
                path = self.file("new")
                shown = self.fails(2, error, "load", path, "--table", "t", input=text)
                self.assertIn(f"  where    standard input, line {line}\n", shown)
                self.assertEqual(os.path.exists(path), text.startswith(head))
                if os.path.exists(path):
                    os.unlink(path)
        self.fails(2, "does not name its table", "load", self.path, input=dump_of({}))
        self.fails(2, "more than one table", "load", self.path, "-t", "t",
                   input=dump_of({}) + dump_of({}))
        self.fails(2, "cannot read the dump: No such file", "load", self.path, "-f", "/nowhere")
        self.fails(2, "at most 2048 bytes", "load", self.path, "-t", "t",
                   input=dump_of({b"k" * 3000: b""}))

    def test_pairs_before_a_bad_line_are_kept(self):
        text = dump_of({b"a": b"1", b"b": b"2"}).replace("DATA=END\n", " 6g\n")
        self.assertIn("the pairs before it are loaded",
                      self.fails(2, "hexadecimal", "load", self.path, "-t", "t", input=text))
        self.assertEqual(self.ok("scan", self.path, "t"), "a\t1\nb\t2\n")

    def test_unknown_keyword_is_told(self):
        text = dump_of({b"a": b"1"}).replace("type=", "mapsize=1048576\nwonder=1\ntype=")
        result = load(self.path, text, "--table", "t")
        self.assertEqual((result.returncode, result.stderr),
                         (0, "warning: keyword 'wonder' is not known and has no effect\n"))

    def test_what_cannot_be_dumped(self):
        self.make()
        self.fails(2, "not JSON", "dump", "--json", self.path)
        self.fails(2, "no table 'x'", "dump", self.path, "--table", "x")
        self.assertIn("table 'backwards' in", self.fails(2, "comparator", "dump", self.path))


class Foreign(Tables):
    """The tools of Berkeley DB and LMDB read and write the same."""

    def setUp(self):
        super().setUp()
        self.text = dump_of(binary_pairs())
        load(self.path, self.text, "--table", "t")

    def tool(self, *command, **settings):
        if shutil.which(command[0]) is None:
            self.skipTest(f"there is no {command[0]} here")
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60,
                              **settings).stdout

    def returns(self, *command):
        """What the other tool dumps is the same table again."""
        other = self.file("other")
        self.assertEqual(load(other, self.tool(*command), "--table", "t").stderr, "")
        self.assertEqual(self.ok("dump", other, "--table", "t"), self.text)
        os.unlink(other)

    def test_berkeley_db(self):
        for form in ([], ["--print"]):
            text = self.ok("dump", self.path, "--table", "t", *form)
            database = self.file("db")
            self.tool("db5.3_load", database, input=text)
            self.returns("db5.3_dump", database)
            self.returns("db5.3_dump", "-p", database)
            os.unlink(database)

    def test_berkeley_db_with_several_tables(self):
        load(self.path, dump_of(binary_pairs(100, 2)), "--table", "s t\\")
        self.tool("db5.3_load", self.file("db"), input=self.ok("dump", self.path))
        other = self.file("other")
        self.assertEqual(load(other, self.tool("db5.3_dump", self.file("db"))).stderr, "")
        for name in ("t", "s t\\"):
            self.assertEqual(self.ok("dump", other, "--table", name),
                             self.ok("dump", self.path, "--table", name))

    def test_lmdb(self):
        for form in ([], ["--print"]):
            text = self.ok("dump", self.path, "--table", "t", *form)
            folder = self.file("lmdb")
            os.mkdir(folder)
            # Without a size of its own it ends at 1 MiB; an empty dump sets one that lasts.
            self.tool("mdb_load", folder,
                      input=dump_of({}).replace("type=", "mapsize=1073741824\ntype="))
            self.tool("mdb_load", folder, input=text)
            self.returns("mdb_dump", folder)
            shutil.rmtree(folder)


if __name__ == "__main__":
    cli_test.FIRN, cli_test.WITHOUT_IO_URING, MAKE_DATABASE = sys.argv[1:4]
    program = unittest.main(argv=[sys.argv[0], *sys.argv[4:]], exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(cli_test.SKIPPED if len(result.skipped) == result.testsRun else 0)
