#!/usr/bin/python3
"""check_output.py EXPECTED COMMAND [ARGUMENT...]: runs the command and compares what it prints with
a file. It must exit with 0 and write nothing to standard error."""
import difflib
import subprocess
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = file.read()
    ran = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, check=False)
    printed = ran.stdout.decode("utf-8", "backslashreplace")
    if ran.returncode != 0 or ran.stderr or printed != expected:
        sys.stdout.writelines(difflib.unified_diff(
            expected.splitlines(True), printed.splitlines(True), sys.argv[1], sys.argv[2]))
        print(f"exit status {ran.returncode}; standard error:")
        sys.exit(ran.stderr.decode("utf-8", "backslashreplace") or 1)


main()
