#!/usr/bin/python3
"""run.py FOLDER: for each planted bug of list.txt runs its command, a test program in FOLDER, with
the bug planted, and fails on one that nobody notices: a command that succeeds or that takes longer
than 60 s. Each command must succeed without a bug. Fails as well on an id that stands in lib/ but
not in the list, or the other way round."""
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "..", "lib")
SECONDS_MAX = 60


def listed():
    bugs = {}
    with open(os.path.join(HERE, "list.txt"), encoding="utf-8") as file:
        for line in file:
            line = line.split("#")[0].strip()
            if not line:
                continue
            bug, _, command = (part.strip() for part in line.partition("|"))
            if bug in bugs or not command:
                sys.exit(f"list.txt: {bug} is there twice, or has no command")
            bugs[bug] = command
    return bugs


def planted():
    bugs = set()
    for folder, _, names in os.walk(LIB):
        for name in names:
            if name == "planted.hpp":
                continue  # explains the macro
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                bugs |= set(re.findall(r'FIRN_PLANTED\("([^"]+)"\)', file.read()))
    return bugs


def fails(folder, command, bug):
    """How the command ended, or None if it noticed nothing."""
    program, _, rest = command.partition(" ")
    # What firn_tests is given is one test name; other programs take words.
    arguments = [rest] if program == "firn_tests" else rest.split()
    environment = {**os.environ, "FIRN_PLANT": bug} if bug else dict(os.environ)
    try:
        done = subprocess.run([os.path.join(folder, program), *arguments], env=environment,
                              timeout=SECONDS_MAX, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return None
    return f"exit status {done.returncode}" if done.returncode > 0 else \
        f"signal {-done.returncode}"


def main():
    folder, = sys.argv[1:]
    bugs, wrong = listed(), 0
    for bug in sorted(planted() ^ set(bugs)):
        print(f"{bug}: {'not in list.txt' if bug not in bugs else 'not in lib/'}")
        wrong += 1
    waiting = {bug for bug, command in bugs.items() if command.startswith("waits ")}
    for bug in sorted(waiting):
        print(f"{bug}: NOT COVERED, {bugs.pop(bug)}")
    for command in sorted(set(bugs.values())):
        ended = fails(folder, command, None)
        if ended:
            print(f"fails without any bug: {command}: {ended}")
            wrong += 1
    for bug, command in bugs.items():
        start = time.monotonic()
        ended = fails(folder, command, bug)
        print(f"{bug}: {ended or 'SURVIVES'} ({time.monotonic() - start:.1f} s): {command}")
        wrong += not ended
    print(f"{len(bugs)} planted bugs, {len(waiting)} more without a harness, {wrong} problems")
    sys.exit(1 if wrong else 0)


main()
