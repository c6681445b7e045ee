#!/usr/bin/python3
"""Checks the source tree itself: layers, sizes, names, and calls that go round the seam.

  tidy.py [ROOT]        prints every finding, and exits with 1 if there is any
  tidy.py --self-test   plants each kind of violation in a copy and checks that it is found

A rule is a generator that takes the tree and yields (path, line, text). What a review finds twice
becomes a rule here, with a plant in PLANTS."""
import os
import re
import subprocess
import sys
import tempfile

SOURCE = (".cpp", ".hpp", ".h", ".c")
LINES_MAX, LINES_QUESTIONED, COLUMNS_MAX = 1000, 600, 100


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = sorted(self._tracked() or self._walked())
        self._texts = {}

    def _tracked(self):
        """Tracked files, and new ones that git does not ignore."""
        if not os.path.exists(os.path.join(self.root, ".git")):
            return []
        git = subprocess.run(
            ["git", "-C", self.root, "ls-files", "-z", "-co", "--exclude-standard"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        return [path for path in git.stdout.split("\0")
                if path and os.path.isfile(os.path.join(self.root, path))]

    def _walked(self):
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in (".git", ".cache", "build")]
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def under(self, *folders, ending=SOURCE):
        return [path for path in self.files
                if path.startswith(tuple(folder + "/" for folder in folders))
                and path.endswith(ending)]

    def text(self, path):
        if path not in self._texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                self._texts[path] = file.read()
        return self._texts[path]

    def lines(self, path):
        return enumerate(self.text(path).splitlines(), 1)

    def code(self, path):
        """The numbered lines without comments and without the insides of literals."""
        return enumerate(without_comments(self.text(path)).splitlines(), 1)


LITERALS = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^()\\ ]*)\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"'
    r"|(?<![0-9A-Fa-f])'(?:[^'\\\n]|\\.)+'", re.S)


def without_comments(text):
    def blank(match):
        found = match.group()
        return ("" if found[0] == "/" else '""') + "\n" * found.count("\n")
    return LITERALS.sub(blank, text)


# --- layers -------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


class Layers:
    """lib/layers.txt: which layer includes which layer, public header and foreign header."""

    def __init__(self, tree):
        self.layers, self.public, self.foreign = {}, {}, {}
        for _, line in tree.lines("lib/layers.txt"):
            line = line.split("#")[0].strip()
            if not line:
                continue
            subjects, _, allowed = line.partition(":")
            if not subjects.startswith("<"):
                self.layers[subjects] = set(allowed.split())
                continue
            for subject in subjects.strip("<>").split():
                foreign = "." in subject or subject.endswith("/")
                (self.foreign if foreign else self.public)[subject] = set(allowed.split())

    def refusal(self, layer, path, quote, name):
        """Why `path` of `layer` may not include `name`, or None."""
        if quote == '"':
            other = name.split("/")[0]
            if other not in self.layers or "/" not in name:
                return f'"{name}" names no layer: includes are written "layer/file.hpp"'
            if other != layer and other not in self.layers[layer]:
                return f"layer {layer} may not include {name} (lib/layers.txt)"
        elif name.startswith("firn/"):
            allowed = self.public.get(name[len("firn/"):].rsplit(".", 1)[0], {"domain"})
            if "*" not in allowed and layer not in allowed:
                return f"layer {layer} may not include <{name}> (lib/layers.txt)"
        for prefix, allowed in self.foreign.items():
            if name.startswith(prefix) and (layer not in allowed or not path.endswith(".cpp")):
                return f"<{name}> belongs in .cpp files of {', '.join(sorted(allowed))}"
        return None


def layers(tree):
    rules = Layers(tree)
    for path in tree.under("lib"):
        layer = path.split("/")[1]
        if layer not in rules.layers:
            yield path, 1, f"lib/{layer} is not a layer of lib/layers.txt"
            continue
        for number, line in tree.lines(path):
            include = INCLUDE.match(line)
            if include:
                refusal = rules.refusal(layer, path, *include.groups())
                if refusal:
                    yield path, number, refusal


def public_headers(tree):
    """Public headers know the standard library and each other; examples know public headers."""
    for path in tree.under("include"):
        for number, line in tree.lines(path):
            include = INCLUDE.match(line)
            if include and not re.fullmatch(r"[a-z0-9_]+|firn/[a-z0-9_/]+\.hpp", include[2]):
                yield path, number, f"public header includes {include[2]}, which is not std or firn"
            elif include and include[1] == '"':
                yield path, number, f"public header includes {include[2]} in quotes"
    known = set(Layers(tree).layers)
    for path in tree.under("examples"):
        for number, line in tree.lines(path):
            include = INCLUDE.match(line)
            if include and include[1] == '"' and include[2].split("/")[0] in known:
                yield path, number, f"example includes the private header {include[2]}"


def include_guards(tree):
    for path in tree.under("include", "lib", "tests", ending=(".hpp",)):
        if not re.search(r"^#pragma once$", tree.text(path), re.M):
            yield path, 1, "header without #pragma once"


# --- sizes --------------------------------------------------------------------------------------

SIZED = SOURCE + (".py", ".sh")


def sizes(tree):
    for path in tree.files:
        if not path.endswith(SIZED):
            continue
        count = len(tree.text(path).splitlines())
        if count > LINES_MAX:
            yield path, count, f"{count} lines; {LINES_MAX} are the most: divide it"
        for number, line in tree.lines(path):
            if len(line) > COLUMNS_MAX:
                yield path, number, f"{len(line)} columns; {COLUMNS_MAX} are the most"


def large_files(tree):
    """Not refused, listed."""
    for path in tree.files:
        count = len(tree.text(path).splitlines()) if path.endswith(SIZED) else 0
        if LINES_QUESTIONED < count <= LINES_MAX:
            yield f"{path}: {count} lines: is it one deed?"


# --- tests --------------------------------------------------------------------------------------

STRING = r'(?:"(?:[^"\\]|\\.)*"\s*)+'
TEST_CASE = re.compile(
    r"^[ \t]*(?:TEMPLATE_)?(?:LIST_|PRODUCT_)?(TEST_CASE(?:_METHOD)?(?:_SIG)?|SCENARIO)\s*\(\s*"
    rf"(?:[A-Za-z_:]+\s*,\s*)?({STRING})?(?:,\s*({STRING}))?", re.M)


def test_names(tree):
    for path in tree.under("tests"):
        for match in TEST_CASE.finditer(tree.text(path)):
            number = tree.text(path).count("\n", 0, match.start()) + 1
            name, tags = ("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', part or ""))
                          for part in match.group(2, 3))
            if re.search(r"[\[\];\\,]", name):
                yield path, number, rf'test name "{name}" contains one of [ ] ; \ ,'
            if ": " not in name:
                yield path, number, f'test name "{name}" is not "subject: what must be true"'
            if not re.search(r"\[\w", tags):
                yield path, number, f'test "{name}" has no tag'
            if "[." in tags or "[!" in tags:
                yield path, number, f'test "{name}" is hidden or may fail: nobody would run it'


# --- the seam -----------------------------------------------------------------------------------

SEAM = re.compile(
    r"\b(?:clock_gettime|gettimeofday|nanosleep|clock_nanosleep|usleep|sleep_for|sleep_until"
    r"|random_device|getrandom|pthread_create|io_uring_\w+"
    r"|p(?:read|write)(?:v2?|64)?(?=\s*\()|fsync|fdatasync|syncfs|sync_file_range"
    r"|chrono::\w+::now|s?rand(?=\s*\()|std::time(?=\s*\()|std::j?thread\b(?!::)|std::async)")
# One interface each for clock, random numbers, device and "who runs next": tests replace them, and
# a seed replays everything only if nobody goes round them.
SEAM_PLACES = ("lib/base/clock", "lib/base/random", "lib/runtime/", "lib/segment/")


def seam(tree):
    for path in tree.under("include", "lib"):
        if path.startswith(SEAM_PLACES):
            continue
        for number, line in tree.code(path):
            call = SEAM.search(line)
            if call:
                yield path, number, f"{call.group()} goes round the seam ({', '.join(SEAM_PLACES)})"


def exceptions(tree):
    """guard_allocation is where the standard library's bad_alloc ends."""
    for path in tree.under("include", "lib"):
        if path == "lib/base/allocation.hpp":
            continue
        for number, line in tree.code(path):
            if re.search(r"\bthrow\b|\bcatch\s*\(", line):
                yield path, number, "throws or catches: failures are Results"


# --- documents and words ------------------------------------------------------------------------

def data_path(tree):
    """docs/data-path.md: | step | `Function` | `lib/layer/file.cpp`, `other.cpp` |"""
    path = "docs/data-path.md"
    if path not in tree.files:
        return
    for number, line in tree.lines(path):
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3 or not cells[1] or not cells[2]:
            continue
        folder = os.path.dirname(cells[2][0])
        for file in cells[2]:
            file = file if "/" in file else f"{folder}/{file}"
            if file not in tree.files:
                yield path, number, f"{file} does not exist"
                continue
            for function in cells[1]:
                name = re.split(r"::", function.split("(")[0])[-1]
                if not any(re.search(rf"\b{re.escape(name)}\s*\(", code)
                           for _, code in tree.code(file)):
                    yield path, number, f"{file} has no function {function}"


VARIABLE = re.compile(r'getenv\("(FIRN_[A-Z_]+)"\)|\bexport (FIRN_[A-Z_]+)=|'
                      r'environ(?:\.get\(|\[)"(FIRN_[A-Z_]+)"')


def variables(tree):
    """Every FIRN_ variable that is read or set stands in lib/domain/options.cpp, or it would be
    refused as misspelt."""
    known = set()
    if "lib/domain/options.cpp" in tree.files:
        known = set(re.findall(r'"(FIRN_[A-Z_]+)"', tree.text("lib/domain/options.cpp")))
    for path in tree.files:
        if not path.startswith(("include/", "lib/", "tests/", "tools/", "benchmarks/", "examples/",
                                "scripts/", ".ci/")) or path == "tools/tidy.py":
            continue
        for number, line in tree.lines(path):
            for match in VARIABLE.finditer(line):
                name = next(filter(None, match.groups()))
                if name not in known:
                    yield path, number, f"{name} is not in lib/domain/options.cpp"


def error_texts(tree):
    """docs/errors.md gives each code the number of error.hpp and the next step of error.cpp."""
    header, source, document = "include/firn/error.hpp", "lib/base/error.cpp", "docs/errors.md"
    if not {header, source, document} <= set(tree.files):
        return
    numbers = dict(re.findall(r"^  (\w+) = (\d+),", tree.text(header), re.M))
    steps = {code: step for code, name, step in
             re.findall(r'\{ErrorCode::(\w+),\s*"(\w+)",\s*"([^"]+)"\}', tree.text(source))
             if code == name}
    sections = {part.split("\n", 1)[0]: part
                for part in re.split(r"^## ", tree.text(document), flags=re.M)[1:]}
    for code in sorted({*numbers, *steps, *sections}):
        section = sections.get(code, "").replace("`", "")
        step = steps.get(code, "?")
        if code not in numbers:
            yield document, 1, f"{code} is no code of {header}"
        elif f"Number {numbers[code]}. " not in section:
            yield document, 1, f"{code}: its number is {numbers[code]} in {header}"
        elif f"*Next:* {step[0].upper()}{step[1:]}.\n" not in section + "\n":
            yield document, 1, f"{code}: its next step is '{step}' in {source}"


WORDS = {
    r"(?<![\w.])/(?:work|root|home|tmp/wt)/": "a path of one machine",
    r"\.\./shared": "a path outside the repository",
    r"https?://[^\s/]*(?:registry|mirror|artifact|proxy)": "a package host of one machine",
    r"\bTODO\b(?!\(#\d+\))": "TODO without an issue: TODO(#7)",
    r"^(?:<{7}|>{7}) ": "a conflict mark",
}


def words(tree):
    for path in tree.files:
        if path == "tools/tidy.py":
            continue
        for number, line in tree.lines(path):
            for pattern, what in WORDS.items():
                if re.search(pattern, line):
                    yield path, number, what


RULES = (layers, public_headers, include_guards, sizes, test_names, seam, exceptions, data_path,
         variables, error_texts, words)


def findings(root):
    tree = Tree(root)
    return [f"{path}:{line}: {text}" for rule in RULES for path, line, text in rule(tree)]


# --- self-test ----------------------------------------------------------------------------------

CLEAN = {
    "lib/tree/a.hpp": "#pragma once\n",
    "lib/tree/a.cpp": '#include "buffer/b.hpp"\n#include "base/c.hpp"\n#include <firn/bytes.hpp>\n'
                      '// throw, std::thread, pread( in a comment; 1\'000 \'"\'\n'
                      'const char* text = "fsync(1) catch (...)";\n'
                      'std::thread::id owner;\nvoid go() {}\n',
    "lib/runtime/ring.cpp": "#include <liburing.h>\n#include <firn/executor.hpp>\n"
                            "void f() { io_uring_submit(0); fsync(1); }\n",
    "lib/base/clock.cpp": "auto t = std::chrono::steady_clock::now();\n",
    "lib/domain/d.cpp": "#include <firn/table.hpp>\n",
    "include/firn/x.hpp": "#pragma once\n#include <atomic>\n#include <firn/result.hpp>\n",
    "tests/tree/a_test.cpp": 'TEST_CASE("a: is" " b", "[tree]") {}\n',
    "docs/data-path.md": "| step | function | file |\n| go | `Tree::go` | `lib/tree/a.cpp` |\n",
    "README.md": "TODO(#3): a word\n",
    "lib/domain/options.cpp": 'const char* names[] = {"FIRN_TYPE"};\n',
    "scripts/test": "export FIRN_TYPE=1\n",
    "include/firn/error.hpp": "#pragma once\nenum Code {\n  busy = 11,  ///< in use\n};\n",
    "lib/base/error.cpp": 'Text texts[] = {{ErrorCode::busy, "busy", "call again"}};\n',
    "docs/errors.md": "# Errors\n\n## busy\n\nNumber 11. In use.\n\n*Next:* Call again.\n",
}
# (file, text put at its end, what must be reported)
PLANTS = (
    ("lib/base/up.cpp", '#include "tree/a.hpp"\n', "may not include tree/a.hpp"),
    ("lib/tree/a.cpp", '#include "a.hpp"\n', "names no layer"),
    ("lib/tree/a.cpp", "#include <firn/executor.hpp>\n", "may not include <firn/executor.hpp>"),
    ("lib/operation/o.cpp", "#include <firn/table.hpp>\n", "may not include <firn/table.hpp>"),
    ("lib/other/o.cpp", "\n", "is not a layer"),
    ("lib/runtime/ring.hpp", "#pragma once\n#include <liburing.h>\n", "belongs in .cpp files"),
    ("lib/tree/a.cpp", "#include <boost/context/fiber.hpp>\n", "belongs in .cpp files"),
    ("lib/domain/d.cpp", "#include <infiniband/verbs.h>\n", "belongs in .cpp files"),
    ("include/firn/x.hpp", "#include <fmt/format.h>\n", "not std or firn"),
    ("include/firn/x.hpp", '#include "firn/y.hpp"\n', "in quotes"),
    ("examples/e/main.cpp", '#include "tree/a.hpp"\n', "private header"),
    ("lib/tree/bare.hpp", "\n", "#pragma once"),
    ("lib/tree/a.cpp", "int i;\n" * (LINES_MAX + 1), "lines; 1000"),
    ("lib/tree/a.cpp", "//" + "x" * COLUMNS_MAX + "\n", "columns; 100"),
    *(("tests/tree/a_test.cpp", f'TEST_CASE("a: b{mark}", "[tree]") {{}}\n', "contains one of")
      for mark in ("[", "]", ";", "\\\\", ",")),
    ("tests/tree/a_test.cpp", 'TEST_CASE("a b", "[tree]") {}\n', "subject: what must be true"),
    ("tests/tree/a_test.cpp", 'TEST_CASE("a: b") {}\n', "has no tag"),
    ("tests/tree/a_test.cpp", 'TEST_CASE("a: b", "[.][tree]") {}\n', "is hidden"),
    *(("lib/tree/a.cpp", f"auto v = {call};\n", "goes round the seam")
      for call in ("clock_gettime(0, &t)", "std::chrono::steady_clock::now()", "pread(1, b, 2, 3)",
                   "std::random_device{}()", "::pwritev2 (1)", "fdatasync(1)", "fsync(1)",
                   "io_uring_submit(&r)", "std::thread([] {})", "std::jthread{}",
                   "std::this_thread::sleep_for(x)", "std::time(nullptr)", "rand()")),
    ("lib/tree/a.cpp", "void f() { throw 1; }\n", "throws or catches"),
    ("include/firn/x.hpp", "void f() { try {} catch (...) {} }\n", "throws or catches"),
    ("docs/data-path.md", "| no | `Tree::gone` | `lib/tree/a.cpp` |\n", "no function Tree::gone"),
    ("docs/data-path.md", "| no | `go` | `lib/tree/a.cpp`, `b.cpp` |\n", "lib/tree/b.cpp does not"),
    ("tests/tree/a_test.cpp", 'auto* a = getenv("FIRN_TPYE");\n', "FIRN_TPYE is not in"),
    ("scripts/test", "export FIRN_LOGN=1\n", "FIRN_LOGN is not in"),
    ("docs/errors.md", "\n## gone\n\nNumber 5. Gone.\n\n*Next:* Weep.\n", "gone is no code"),
    ("include/firn/error.hpp", "  gone = 5,\n", "gone: its number is 5"),
    ("docs/errors.md", "\n## busy\n\nNumber 12. In use.\n\n*Next:* Call again.\n", "number is 11"),
    ("docs/errors.md", "\n## busy\n\nNumber 11. In use.\n\n*Next:* Wait.\n", "is 'call again'"),
    ("README.md", "see /wo" "rk/notes\n", "a path of one machine"),
    ("README.md", "see ../sha" "red/notes\n", "outside the repository"),
    ("README.md", "see https://a.regi" "stry.example/\n", "a package host"),
    ("lib/tree/a.cpp", "// TODO later\n", "TODO without an issue"),
    ("README.md", "<<<<<<< HEAD\n", "a conflict mark"),
)


def write(root, path, text, mode="w"):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, mode, encoding="utf-8") as file:
        file.write(text)


def self_test(root):
    with open(os.path.join(root, "lib/layers.txt"), encoding="utf-8") as file:
        clean = {"lib/layers.txt": file.read(), **CLEAN}
    missed = 0
    for path, text, expected in (("README.md", "", None), *PLANTS):
        with tempfile.TemporaryDirectory() as planted:
            for name, content in clean.items():
                write(planted, name, content)
            write(planted, path, text, mode="a")
            found = findings(planted)
            if bool(expected) != bool(found) or any(expected not in line for line in found):
                missed += 1
                print(f"planted in {path}: {text[:80]!r}\n  expected: {expected}\n  found: {found}")
    print(f"{len(PLANTS)} violations planted, {missed} answered wrongly")
    return missed


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        sys.exit(1 if self_test(root) else 0)
    if arguments:
        root = arguments[0]
    found = findings(root)
    for line in list(large_files(Tree(root))) + found:
        print(line)
    print(f"tidy: {len(Tree(root).files)} files, {len(found)} findings")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
