"""Runs as they are kept: one a line of JSON. And what cells make of them."""
import json
import statistics

from .options import ENGINES, LOADS, WORKLOADS


def append(path, records):
    with open(path, "a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")


def read(path):
    """Lines that are cut short, as after a power failure, are passed over."""
    records = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records


def of_commit(records, commit=None):
    """Those of one commit: the one asked for, or that of the newest record."""
    if not records:
        return []
    if commit is None:
        commit = max(records, key=lambda record: record["date"])["commit"]
        return [record for record in records if record["commit"] == commit]
    return [record for record in records if record["commit"].startswith(commit)]


class Figure:
    """Of one column over the rounds."""

    def __init__(self, values):
        self.median = statistics.median(values)
        self.least, self.most = min(values), max(values)


def ratio(above, below):
    return above / below if below else 0.0


def memory_of(run):
    """The group's peak counts the page cache that the process has used."""
    return run.get("memory_group_peak_bytes") or run["resident_peak_bytes"]


COLUMNS = {
    "rate": lambda run: ratio(run["operations"], run["seconds"]),
    "rate_of_processor": lambda run: ratio(
        run["operations"], run["processor_seconds"] + run["processor_seconds_owed"]),
    "p50_us": lambda run: run["p50_us"],
    "p99_us": lambda run: run["p99_us"],
    "p999_us": lambda run: run["p999_us"],
    "written_each": lambda run: ratio(run["device_write_bytes"], run["operations"]),
    "read_each": lambda run: ratio(run["device_read_bytes"], run["operations"]),
    "write_amplification": lambda run: ratio(run["device_write_bytes"], run["user_bytes"]),
    "space": lambda run: ratio(run["file_bytes"], run["live_bytes"]),
    "memory": lambda run: memory_of(run),
    "memory_of_budget": lambda run: ratio(memory_of(run), run["budget_bytes"]),
    "resident_of_budget": lambda run: ratio(
        run["resident_peak_bytes"] - run["resident_before_bytes"], run["budget_bytes"]),
}


class Entry:
    """One engine in one cell."""

    def __init__(self, engine):
        self.engine = engine
        self.rounds = {}      # round: run
        self.trouble = None   # (status, reason) of the last run that failed

    def add(self, record):
        if record["status"] == "ok":
            self.rounds[record["round"]] = record
        else:
            self.trouble = record["status"], record["reason"]

    def figure(self, column):
        return Figure([COLUMNS[column](run) for run in self.rounds.values()])

    def rate(self):
        return self.figure("rate").median if self.rounds else 0.0

    def ratio_to(self, other, column="rate"):
        """Round by round where both have run."""
        value = COLUMNS[column]
        common = [ratio(value(self.rounds[number]), value(other.rounds[number]))
                  for number in self.rounds if number in other.rounds]
        return Figure(common) if common else None


    def cut_pairs(self):
        """The pairs of a load that ended before all were in, else None."""
        runs = [run for run in self.rounds.values()
                if run["workload"] in LOADS and run["operations"] < run["pairs"]]
        return min(run["operations"] for run in runs) if runs else None


class Cell:
    def __init__(self, workload, memory, threads):
        self.workload, self.memory, self.threads = workload, memory, threads
        self.entries = {}

    def add(self, record):
        engine = record["engine"]
        self.entries.setdefault(engine, Entry(engine)).add(record)

    def sorted(self):
        return sorted(self.entries.values(), key=lambda entry: ENGINES.index(entry.engine))

    def peers(self):
        """Engines other than Firn: those with most rounds first, the fastest of them in front."""
        peers = [entry for entry in self.entries.values()
                 if entry.engine != "firn" and entry.rounds]
        return sorted(peers, key=lambda entry: (-len(entry.rounds), -entry.rate()))


def medians(records):
    """The table as plain data."""
    rows = []
    for (pairs, value), table in cells(records).items():
        for cell in table:
            peers = cell.peers()
            for entry in cell.sorted():
                row = {"pairs": pairs, "value": value, "workload": cell.workload,
                       "memory": cell.memory, "threads": cell.threads, "engine": entry.engine,
                       "rounds": len(entry.rounds)}
                if entry.trouble is not None:
                    row["status"], row["reason"] = entry.trouble
                if entry.rounds:
                    for name in COLUMNS:
                        figure = entry.figure(name)
                        row[name] = {"median": figure.median, "least": figure.least,
                                     "most": figure.most}
                    to_best = entry.ratio_to(peers[0]) if peers else None
                    if to_best is not None:
                        row["of_best_peer"] = {"median": to_best.median, "least": to_best.least,
                                               "most": to_best.most, "peer": peers[0].engine}
                rows.append(row)
    return rows


def cells(records):
    """{(pairs, value): [Cell]} in the order of the table; of runs made twice the newest counts."""
    tables = {}
    for record in sorted(records, key=lambda record: record["date"]):
        if record.get("kind") != "run":
            continue
        table = tables.setdefault((record["pairs"], record["value"]), {})
        key = record["workload"], record["memory"], record["threads"]
        table.setdefault(key, Cell(*key)).add(record)

    def place(cell):
        return cell.memory, WORKLOADS.index(cell.workload), cell.threads
    return {shape: sorted(table.values(), key=place) for shape, table in tables.items()}
