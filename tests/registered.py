#!/usr/bin/python3
"""registered.py EXECUTABLE TAG...: fails on a test case that no listed tag selects, so that no case
is silently left out of ctest."""
import subprocess
import sys


def names(executable, *spec):
    # The exit status of a listing is the number of cases, which says nothing.
    listing = subprocess.run([executable, "--list-test-names-only", *spec], text=True,
                             stdout=subprocess.PIPE, check=False).stdout
    return {line.strip() for line in listing.splitlines() if line.strip()}


def main():
    executable, *tags = sys.argv[1:]
    every = names(executable)
    if not every:
        sys.exit(f"{executable} lists no test case")
    missed = every - names(executable, ",".join(f"[{tag}]" for tag in tags))
    for name in sorted(missed):
        print(f"not run by any label of tests/CMakeLists.txt: {name}")
    print(f"{len(every)} test cases, {len(missed)} not registered")
    sys.exit(1 if missed else 0)


main()
