#!/usr/bin/python3
"""static_constructors.py LIBRARY: fails if libfirn runs code before main, or while it is loaded.

An archive may hold no .init_array, .preinit_array or .ctors section at all; in a shared library the
only entry is the compiler's own (frame_dummy)."""
import re
import subprocess
import sys

SECTION = re.compile(r"\]\s+(\.(?:init_array|preinit_array|ctors)\S*)\s+\S+\s+\S+\s+\S+\s+(\S+)")
POINTER_SIZE = 8


def main():
    (library,) = sys.argv[1:]
    text = subprocess.run(["readelf", "--wide", "--section-headers", library], text=True,
                          stdout=subprocess.PIPE, check=True).stdout
    if "Section Headers" not in text and "Section Header" not in text:
        sys.exit(f"{library} holds no object")
    allowed = 0 if library.endswith(".a") else POINTER_SIZE
    source, faults = library, []
    for line in text.splitlines():
        if line.startswith("File: "):
            source = line[len("File: "):]
        match = SECTION.search(line)
        if match and int(match.group(2), 16) > allowed:
            faults.append(f"{source}: {match.group(1)} has {int(match.group(2), 16)} bytes")
    print("\n".join(faults) or f"{library}: no static constructors")
    sys.exit(1 if faults else 0)


main()
