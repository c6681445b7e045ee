#!/usr/bin/python3
"""check.py PROGRAM: makes a small tree of everything that is odd in a file system, and checks, for
native and light domains, that `demo` agrees with it, that each spoiled record is found, what the
commands print, that a store is brought up to date, and that wrong uses are refused."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1])
failures = 0


def write(path, size=0):
    with open(path, "wb") as file:
        file.truncate(size)


def make_tree(root):
    join = os.path.join
    os.mkdir(root)
    for name in (b"empty", b"sub", b"sub/inner", b"closed", b"closed/below"):
        os.mkdir(join(root, name))
    write(join(root, b"plain.txt"), 100)
    write(join(root, b"large"), 5_000_000)
    write(join(root, b"sub/second.txt"), 2_000)
    for name in (b"new\nline.txt", b"not-utf8-\xff\xfe", b"back\\slash", b"tab\t", b"-name",
                 "gr\u00fc\u00df".encode(), b"esc\x1b[31m", b"~", b" ", b"x" * 255):
        write(join(root, b"sub", name), 10)
    os.link(join(root, b"plain.txt"), join(root, b"sub/hard1"))
    os.link(join(root, b"plain.txt"), join(root, b"sub/inner/hard2"))
    os.symlink(b"plain.txt", join(root, b"link"))
    os.symlink(b"nowhere/" + b"t" * 3000, join(root, b"dangling"))
    os.symlink(b"..", join(root, b"sub/loop"))
    os.mkfifo(join(root, b"pipe"))
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(".", os.O_RDONLY)
        os.chdir(root)
        server.bind("socket")
        # Deeper than descriptors are kept open, and a path longer than any call takes.
        for _ in range(300):
            os.mkdir("deep-" + "d" * 15)
            os.chdir("deep-" + "d" * 15)
        write("bottom.txt", 7)
        os.fchdir(here)
        os.close(here)


TYPES = (["--type", "native", "--least", "1MiB"], ["--type", "light"])


def expect(what, arguments, status, stdout=(), stderr=(), text_in="", **options):
    """Runs the program; each text of `stdout` and `stderr` must be in what it writes there."""
    global failures
    ran = subprocess.run([options.pop("program", PROGRAM), *arguments], input=text_in.encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    out, err = (stream.decode("utf-8", "backslashreplace") for stream in (ran.stdout, ran.stderr))
    missing = [text for texts, stream in ((stdout, out), (stderr, err)) for text in texts
               if text not in stream]
    if ran.returncode != status or missing or (not stderr and err):
        failures += 1
        print(f"{what}: exit {ran.returncode}, expected {status}; missing {missing}\n{out}{err}")
    return out


def check_unreadable(tree, folder):
    """As root nothing is unreadable, so root lends the program to nobody."""
    os.chmod(os.path.join(tree, "closed"), 0o000)
    options = {}
    if os.getuid() == 0:
        os.chmod(folder, 0o755)
        copy = shutil.copy(PROGRAM, os.path.join(folder, "program"))
        options = {"program": copy, "user": 65534, "group": 65534, "extra_groups": []}
        probe = subprocess.run([copy, "--help"], stdout=subprocess.DEVNULL, check=False,
                               user=65534, group=65534, extra_groups=[])
        if probe.returncode != 0:
            print("another user cannot run the program here: unreadable directories not checked")
            return
    expect("unreadable", ["--least", "1MiB", "demo", tree], 0,
           ["unreadable directories            1", "closed: Permission denied",
            "every answer is equal"], **options)
    expect("unreadable index", ["index", tree, "--", "ls", "closed"], 0,
           ["(could not be read when indexed)"], ["1 directories could not be read"], **options)
    os.chmod(os.path.join(tree, "closed"), 0o755)


def check_commands(tree):
    def same(what, printed, expected):
        global failures
        if printed != expected:
            failures += 1
            print(f"{what}: printed {printed!r}, expected {expected!r}")

    def run(*commands):
        words = [word for command in commands for word in ("--", *command)]
        native, light = (expect(str(commands), [*options, "index", tree, *words], 0)
                         for options in TYPES)
        same("native and light", native, light)
        return native

    listed = run(["ls"]).splitlines()
    names = [line.split(" ")[-1] for line in listed if "->" not in line]
    same("ls", names, ["closed", "deep-" + "d" * 15, "empty", "large", "pipe", "plain.txt",
                       "socket", "sub"])
    same("ls link", any(line.endswith(" link -> plain.txt") for line in listed), True)
    found = run(["find", "sub", "-name", "*.txt"], ["find", tree + "/sub", "-name", "back*"])
    same("find", found, f"{tree}/sub/new\\nline.txt\n{tree}/sub/second.txt\n"
                        f"{tree}/sub/back\\\\slash\n")
    odd = run(["ls", "sub"])
    texts = ("not-utf8-\\xff\\xfe", "tab\\t", "gr\u00fc\u00df", "esc\\x1b[31m", "\x1b")
    same("escapes", [text in odd for text in texts], [True, True, True, True, False])
    same("largest", run(["largest", "2"]),
         f"     5,000,000 {tree}/large\n         2,000 {tree}/sub/second.txt\n")
    same("links", "links   3, of them 3 here" in run(["stat", "sub/inner/hard2"]), True)
    same("dots", run(["stat", "sub/inner/../../large"]).splitlines()[0], f"{tree}/large: file")
    piped = expect("piped", ["index", tree], 1, [f"{tree}/plain.txt: file", f"{tree}/sub/ : file"],
                   ["not_found"], "stat plain.txt\nstat gone\nstat 'sub/ '\nquit\nstat large\n")
    same("quit", "large" in piped, False)


def check_update(tree, folder):
    """A store that is there is opened, and brought up to date with what has changed."""
    join = os.path.join
    path = join(folder, "store")
    options = ["--path", path, "--least", "1KiB"]
    expect("first", [*options, "demo", tree], 0, ["327 unchanged", "every answer is equal"])
    expect("filled", [*options, "demo", tree], 0, ["0 updates", "every answer is equal"])
    expect("open", [*options, "open", "--", "largest", "1"], 0, [f"5,000,000 {tree}/large"])
    expect("other", [*options, "index", folder], 1, (), ["already_exists"])
    copy = join(folder, "copy")
    shutil.copytree(join(tree, "sub"), copy, symlinks=True)
    os.rename(copy, join(tree, "empty", "moved"))
    write(join(tree, "plain.txt"), 200)
    os.unlink(join(tree, "large"))
    os.mkdir(join(tree, "large"))
    os.unlink(join(tree, "sub", "hard1"))
    os.link(join(tree, "sub", "second.txt"), join(tree, "second"))
    expect("changed", [*options, "index", tree, "--", "stat", "plain.txt"], 0,
           ["200 bytes", "links   2, of them 2 here"])
    expect("again", [*options, "demo", tree], 0, ["0 updates", "every answer is equal"])
    for name in ("empty/moved", "large"):
        shutil.rmtree(join(tree, name))
    os.unlink(join(tree, "second"))
    os.link(join(tree, "plain.txt"), join(tree, "sub", "hard1"))
    write(join(tree, "plain.txt"), 100)
    write(join(tree, "large"), 5_000_000)
    expect("changed back", [*options, "demo", tree], 0, [
        "0 updates", "1 inodes under 3 names", "every answer is equal"])


def check_refusals(tree):
    index = ["index", tree, "--"]
    for arguments, status, text in (
            ([], 2, "a command is missing"),
            (["index"], 2, "index needs a directory"),
            (["demo", tree + "/gone"], 2, "No such file or directory"),
            (["demo", tree + "/large"], 2, "Not a directory"),
            (["demo", tree, "more"], 2, "what is this for: more"),
            (["inedx", tree], 2, "no such command: inedx"),
            (["--tpye", "light", "demo"], 2, "no such option: --tpye"),
            (["--type", "lihgt", "demo"], 2, "the nearest one is 'light'"),
            (["--type", "db5", "demo", tree], 2, "unsupported"),
            (["--path", tree + "/gone/file", "index", tree], 1, "not_found"),
            (["--path", tree + "/gone", "open"], 2, "No such file or directory"),
            (["--type", "light", "open"], 2, "open needs the --path"),
            (["--least", "x", "demo"], 2, "--least: "),
            (["--memory", "much", "demo"], 2, "64MiB"),
            (["--memory"], 2, "--memory needs a value"),
            (["--seed", "x", "demo"], 2, "--seed needs a number"),
            (["--spoil", "milk", "demo", tree], 2, "spoil mode"),
            (index + ["lss"], 2, "no such command: lss"),
            (index + ["stat"], 2, "too many or too few"),
            (index + ["ls", "a", "b"], 2, "too many or too few"),
            (index + ["stat", "gone\n"], 1, "stat gone\\n: not_found"),
            (index + ["stat", "/etc"], 2, "not in the indexed directory"),
            (index + ["stat", tree + "more"], 2, "not in the indexed directory"),
            (index + ["find", "sub"], 2, "usage: find"),
            (index + ["find", "large", "-name", "x"], 2, "not a directory"),
            (index + ["largest", "-1"], 2, "N is a number"),
            (["--memory", "1KiB", "demo", tree], 2, "invalid_argument"),
            (["--type", "light", "--memory", "1MiB", "demo", "/usr/share"], 1, "no_memory")):
        out, err = ([], [text])
        expect(str(arguments), arguments, status, out, err)


def main():
    folder = os.path.realpath(tempfile.mkdtemp())
    try:
        tree = os.path.join(folder, "tree")
        make_tree(os.fsencode(tree))
        expect("help", ["--help"], 0, ["usage:", "largest"])
        for options in TYPES:
            expect("demo", [*options, "demo", tree], 0, [
                "every answer is equal", "1 inodes under 3 names", "3 symlink targets",
                "entries                         327", "further hard links                2",
                "0 changed, 0 new, 0 gone; 0 updates"])
            for what in ("mode", "time", "names", "name", "parent", "body"):
                for seed in ("3", "9"):
                    expect(f"spoiled {what}",
                           [*options, "--spoil", what, "--seed", seed, "demo", tree], 1,
                           ["DIFFERENCE: ", "FAILED"])
        check_update(tree, folder)
        check_unreadable(tree, folder)
        check_commands(tree)
        check_refusals(tree)
    finally:
        shutil.rmtree(folder)
    print(f"{failures} failures")
    sys.exit(1 if failures else 0)


main()
