#!/usr/bin/python3
"""skips.py RESULTS ALLOWED: lists the skipped tests of a ctest run (its JUnit file) and fails on
one that ALLOWED (test | reason | where it does run) does not name. ctest itself passes them all."""
import sys
import xml.etree.ElementTree


def main():
    results, allowed_file = sys.argv[1:]
    allowed = {}
    with open(allowed_file, encoding="utf-8") as file:
        for line in file:
            line = line.split("#")[0].strip()
            if not line:
                continue
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != 3 or not all(fields):
                sys.exit(f"{allowed_file}: not 'test | reason | where it does run': {line}")
            allowed[fields[0]] = fields[1:]

    tests = xml.etree.ElementTree.parse(results).getroot().iter("testcase")
    skipped = [test.get("name") for test in tests
               if test.find("skipped") is not None or test.get("status") in ("notrun", "disabled")]
    refused = [name for name in skipped if name not in allowed]
    for name in skipped:
        if name in allowed:
            print(f"skipped: {name}: {allowed[name][0]}; it runs {allowed[name][1]}")
        else:
            print(f"skipped, and {allowed_file} does not allow it: {name}")
    if not skipped:
        print("skipped: none")
    sys.exit(1 if refused else 0)


main()
