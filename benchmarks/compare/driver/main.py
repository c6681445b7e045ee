"""The order of things: limits, cells in paired rounds, the table."""
import datetime
import os
import signal
import sys
import time

from . import machine, options as choices, results, runs, table
from .options import ENGINES, FIRN_ONLY

CONTENDERS = 2  # peers that run in all rounds of a cell


class Progress:
    """One line that is written over on a terminal; elsewhere one a cell."""

    def __init__(self, total, deadline):
        self.total, self.deadline, self.begun = total, deadline, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.done = 0

    def step(self, text):
        if self.terminal:
            minutes = (time.monotonic() - self.begun) / 60
            most = (self.deadline - self.begun) / 60
            print(f"\r\033[K{self.done + 1}/{self.total} {text}; {minutes:.1f} of at most "
                  f"{most:.0f} min", end="", file=sys.stderr, flush=True)

    def cell_done(self, text):
        self.done += 1
        if not self.terminal:
            print(f"{self.done}/{self.total} {text}", file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.runner = runs.Runner(options)
        self.path = os.path.join(options.out, "results.jsonl")
        self.common = {
            "commit": machine.commit_of(options.root), "pairs": options.pairs,
            "value": options.value, "cell_seconds": options.seconds, "seed": options.seed}
        self.records = []
        self.deadline = time.monotonic() + 60 * options.minutes
        self.run_seconds = {}  # memory: [seconds that runs took]
        self.cells = self._cells()
        self.progress = Progress(len(self.cells), self.deadline)

    def _cells(self):
        """(workload, memory); the load that makes everybody's files comes first, asked for or
        not."""
        cells = [("load-random", "in")]
        for memory in self.options.memories:
            for workload in self.options.only:
                if (workload, memory) == cells[0]:
                    continue
                if workload == "commit-sync" and memory == "out" and "in" in self.options.memories:
                    continue  # the log decides, not where the data is
                cells.append((workload, memory))
        return cells

    def keep(self, record):
        record = {**self.common, **record,
                  "date": datetime.datetime.now(datetime.timezone.utc).isoformat()}
        self.records.append(record)
        results.append(self.path, [record])

    def limits(self):
        options = self.options
        self.keep({"kind": "machine", **machine.describe()})
        if options.no_limits:
            return
        seconds, mebibytes = (1, 256) if options.quick else (3, 1024)
        self.progress.step("what the device allows")
        for name, figures in machine.device_limits(self.runner.data, seconds, mebibytes):
            self.keep({"kind": "limit", "name": name, **figures})
        self.progress.step("what the memory allows")
        figures = machine.memory_limits(options.programs, 0.5 if options.quick else 2, mebibytes)
        self.keep({"kind": "limit", "name": "memory", **figures})

    def engines_of(self, workload):
        if workload in FIRN_ONLY:
            return [engine for engine in self.runner.engines if engine == "firn"]
        return list(self.runner.engines)

    def one(self, engine, workload, memory, number):
        self.progress.step(f"{workload} {memory} of memory, {engine}, round {number}")
        begun = time.monotonic()
        found = self.runner.run(engine, workload, memory)
        self.run_seconds.setdefault(memory, []).append(time.monotonic() - begun)
        for result in found:
            self.keep({"kind": "run", "engine": engine, "workload": workload, "memory": memory,
                       "version": self.runner.engines[engine], "round": number, **result})
        return found

    def further_rounds(self, place, contenders):
        """How many more of this cell fit, if all later cells get their first and as many."""
        def seconds_of(memory):
            known = self.run_seconds.get(memory) or sum(self.run_seconds.values(), [])
            return sum(known) / len(known)
        later = self.cells[place + 1:]
        first = sum(len(self.engines_of(workload)) * seconds_of(memory)
                    for workload, memory in later)
        each = contenders * sum(seconds_of(memory) for _, memory in self.cells[place:])
        left = self.deadline - time.monotonic() - first
        return max(0, min(self.options.rounds - 1, int(left / each)))

    def cell(self, place):
        workload, memory = self.cells[place]
        engines = self.engines_of(workload)
        rates, troubles = {}, []
        for engine in engines:
            found = self.one(engine, workload, memory, 1)
            good = [run for run in found if run["status"] == "ok"]
            if good:
                rates[engine] = max(results.COLUMNS["rate"](run) for run in good)
            troubles += [f"{engine}: {run['reason']}" for run in found if run["status"] == "failed"]
        peers = sorted((engine for engine in rates if engine != "firn"),
                       key=lambda engine: -rates[engine])[:CONTENDERS]
        contenders = [engine for engine in engines if engine in peers
                      or engine == "firn" and engine in rates]
        further = self.further_rounds(place, len(contenders)) if contenders else 0
        for number in range(2, 2 + further):
            for engine in contenders:
                self.one(engine, workload, memory, number)
        best = f"; best peer {peers[0]} {rates[peers[0]]:,.0f}/s" if peers else ""
        firn = f"firn {rates['firn']:,.0f}/s" if "firn" in rates else "firn -"
        self.progress.cell_done(
            f"{workload} {memory}: {firn}{best}; {1 + further} rounds"
            + "".join(f"; failed: {trouble}" for trouble in sorted(set(troubles))))

    def notes(self):
        lines = []
        if "out" in self.options.memories:
            groups = self.runner.groups
            if groups.parent is None:
                lines.append(f"No memory group bounds the page cache ({groups.why_not}): caches "
                             "were dropped before each run out of memory.")
            budget = choices.budget_of(self.options, "out")
            if budget * choices.BUDGETS_OF_DATA > self.options.data_bytes:
                lines.append(f"Out of memory: the data is only "
                             f"{self.options.data_bytes / budget:.1f} times the budget, which is "
                             f"at least {choices.BUDGET_MIN >> 20} MiB.")
        missing = [engine for engine in self.options.engines
                   if engine not in self.runner.engines]
        if missing:
            lines.append(f"Not built, and left out: {', '.join(missing)}")
        return lines

    def run(self):
        """Whether it came to its end."""
        try:
            self.limits()
            for place in range(len(self.cells)):
                if time.monotonic() >= self.deadline:
                    left = self.cells[place:]
                    print(f"\nno time is left for {len(left)} cells", file=sys.stderr)
                    break
                self.cell(place)
            return True
        except KeyboardInterrupt:
            return False
        finally:
            self.progress.end()
            self.runner.clean()


def show(options):
    try:
        records = results.of_commit(results.read(options.table), options.commit)
    except OSError as error:
        print(f"compare: {options.table}: {error.strerror}", file=sys.stderr)
        return 1
    if not any(record.get("kind") == "run" for record in records):
        print(f"compare: {options.table} has no runs of that commit", file=sys.stderr)
        return 1
    print(table.text(records))
    return 0


def main(arguments):
    options = choices.parse(arguments)
    if options.table:
        return show(options)
    options.engines = options.engines or list(ENGINES)
    os.makedirs(options.out, exist_ok=True)
    comparison = Comparison(options)
    if not comparison.runner.engines:
        print(f"compare: no engine's program is in {options.programs}; build with "
              "-DFIRN_BENCHMARKS=ON, or name the build with --build", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    complete = comparison.run()
    if any(record["kind"] == "run" for record in comparison.records):
        print(table.text(comparison.records, comparison.notes()))
    print(f"results: {comparison.path}", file=sys.stderr)
    return 0 if complete else 130
