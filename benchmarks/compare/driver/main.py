"""The order of things: limits, cells in paired rounds, the table."""
import datetime
import json
import os
import signal
import subprocess
import sys
import time

from . import machine, options as choices, plots, results, runs, schedule, table
from .options import ENGINES, FIRN_ONLY
from .progress import Progress

CONTENDERS = 2  # peers, at least, that run in all rounds of a cell


class Comparison:
    def __init__(self, options):
        self.options = options
        self.runner = runs.Runner(options)
        self.path = os.path.join(options.out, "results.jsonl")
        self.common = {
            "commit": machine.commit_of(options.root), "pairs": options.pairs,
            "value": options.value, "cell_seconds": options.seconds, "seed": options.seed}
        self.records = []
        self.cells = schedule.cells_of(options)
        self.clock = schedule.Clock(options, self.runner.threads_of)
        self.progress = Progress(len(self.cells), options.minutes)
        self.left_out = 0
        self.cut_cells = []  # that not all engines have run

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
        self.clock.note(workload, memory, time.monotonic() - begun)
        for result in found:
            self.keep({"kind": "run", "engine": engine, "workload": workload, "memory": memory,
                       "version": self.runner.engines[engine], "round": number, **result})
        return found

    def cell(self, place):
        workload, memory = self.cells[place]
        engines = self.engines_of(workload)
        rates, troubles = {}, set()  # rates: {threads: {engine: rate}}
        for engine in engines:
            if self.clock.left() <= 0:
                self.cut_cells.append(f"{workload} {memory}")
                break
            found = self.one(engine, workload, memory, 1)
            for run in found:
                if run["status"] == "ok":
                    rate = results.COLUMNS["rate"](run)
                    rates.setdefault(run["threads"], {})[engine] = rate
            troubles |= {f"; {engine} failed: {run['reason']}" for run in found
                         if run["status"] == "failed"}
        contenders = contenders_of(engines, rates)
        further = 0
        if contenders:
            further = self.clock.further_rounds(self.cells, place, len(contenders),
                                                self.engines_of)
        for number in range(2, 2 + further):
            for engine in contenders:
                self.one(engine, workload, memory, number)
        rounds = "1 round" if further == 0 else f"{1 + further} rounds"
        self.progress.cell_done(f"{workload} {memory}: {first_round(rates)}{rounds}"
                                + "".join(sorted(troubles)))

    def notes(self):
        options, lines = self.options, []
        if "out" in options.memories:
            groups = self.runner.groups
            if groups.parent is None:
                lines.append(f"No memory group bounds the page cache ({groups.why_not}): caches "
                             "were dropped before each run out of memory.")
            budget = choices.budget_of(options, "out")
            if budget * choices.BUDGETS_OF_DATA > options.data_bytes:
                lines.append(f"Out of memory: the data is only "
                             f"{options.data_bytes / budget:.1f} times the budget, which is at "
                             f"least {choices.BUDGET_MIN >> 20} MiB.")
        missing = [engine for engine in options.engines if engine not in self.runner.engines]
        if missing:
            lines.append(f"Not built, and left out: {', '.join(missing)}.")
        if self.cut_cells:
            lines.append(f"No time was left for some engines of {', '.join(self.cut_cells)}.")
        if self.left_out:
            lines.append(f"No time was left for {self.left_out} cells.")
        return lines

    def run(self):
        """Whether it came to its end."""
        try:
            self.limits()
            for place in range(len(self.cells)):
                if self.clock.left() <= 0:
                    self.left_out = len(self.cells) - place
                    break
                self.cell(place)
            return True
        except KeyboardInterrupt:
            return False
        finally:
            self.progress.end()
            self.runner.clean()


def contenders_of(engines, rates):
    """Firn, the best peer with each number of threads, and others until there are two."""
    places = {}  # peer: its places with each number of threads
    chosen = {"firn"} if any("firn" in of_threads for of_threads in rates.values()) else set()
    for of_threads in rates.values():
        peers = sorted((engine for engine in of_threads if engine != "firn"),
                       key=lambda engine: -of_threads[engine])
        chosen.update(peers[:1])
        for place, engine in enumerate(peers):
            places.setdefault(engine, []).append(place)
    for engine in sorted(places, key=lambda engine: sum(places[engine])):
        if len(chosen - {"firn"}) >= CONTENDERS:
            break
        chosen.add(engine)
    return [engine for engine in engines if engine in chosen]


def first_round(rates):
    """In words, for the progress."""
    text = ""
    for threads, of_threads in rates.items():
        firn = f"{of_threads['firn']:,.0f}/s" if "firn" in of_threads else "-"
        peers = [engine for engine in of_threads if engine != "firn"]
        best = max(peers, key=of_threads.get, default=None)
        text += f"{threads} thr firn {firn}"
        text += f", {best} {of_threads[best]:,.0f}/s; " if best else "; "
    return text


def pictures(records, directory):
    try:
        for path in plots.draw(results.cells(records), directory):
            print(f"plot: {path}", file=sys.stderr)
    except (RuntimeError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)


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
    if not options.no_plots:
        pictures(records, os.path.dirname(os.path.abspath(options.table)))
    return 0


def compare(options):
    options.engines = options.engines or list(ENGINES)
    os.makedirs(options.out, exist_ok=True)
    comparison = Comparison(options)
    if not comparison.runner.engines:
        print(f"compare: no engine's program is in {options.programs}; build with "
              "-DFIRN_BENCHMARKS=ON, or name the build with --build", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    complete = comparison.run()
    records = comparison.records
    if any(record["kind"] == "run" for record in records):
        for note in comparison.notes():
            comparison.keep({"kind": "note", "text": note})
        print(table.text(records))
        path = os.path.join(options.out, "table.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results.medians(records), file, indent=1)
        if not options.no_plots:
            pictures(records, options.out)
    print(f"results: {comparison.path}", file=sys.stderr)
    return 0 if complete else 130


def main(arguments):
    options = choices.parse(arguments)
    try:
        return show(options) if options.table else compare(options)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
