"""What the caller may choose, and what follows from it."""
import argparse
import difflib
import os

ENGINES = ("firn", "rocksdb", "lmdb", "wiredtiger", "leveldb", "bdb", "sqlite")
LOADS = ("load-random", "load-sequential")
READS = ("get-uniform", "get-zipf", "get-missing", "scan-100", "ycsb-c")
WRITES = ("overwrite-uniform", "overwrite-zipf", "ycsb-a", "ycsb-b", "ycsb-d", "ycsb-e", "ycsb-f",
          "tx-async", "commit-sync")
FIRN_ONLY = ("get-in-flight-64",)
WORKLOADS = LOADS + ("get-uniform", "get-zipf", "get-missing", "scan-100", "overwrite-uniform",
                     "overwrite-zipf", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f",
                     "tx-async", "commit-sync", "get-in-flight-64")
COMMIT_THREADS = (1, 2, 8, 32)  # durable commits share syncs: more threads than processors

KEY_BYTES = 16
BUDGETS_OF_DATA = 8          # out of memory
BUDGET_MIN = 8 << 20         # below it engines cannot work
IN_MEMORY_BUDGETS = 4        # the budget over the data, in memory
IN_MEMORY_MIN = 64 << 20


def named(kind, names, known):
    """The names of a list with commas, all known; else the error names the nearest one."""
    chosen = [name for name in names.split(",") if name]
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise argparse.ArgumentTypeError(
                f"no {kind} '{name}'; the nearest is '{near[0]}' (all: {' '.join(known)})")
    return [name for name in known if name in chosen]


def positive(of):
    def parse(text):
        value = of(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
        return value
    parse.__name__ = of.__name__
    return parse


def parse(arguments):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
        os.path.abspath(__file__)))))
    parser = argparse.ArgumentParser(
        prog="compare", allow_abbrev=False,
        description="Runs the same workloads on Firn and other engines, in turns.")
    add = parser.add_argument
    add("--quick", action="store_true", help="small data and short cells: five minutes in all")
    add("--only", metavar="WORKLOAD,..", default=None,
        type=lambda text: named("workload", text, WORKLOADS))
    add("--engines", metavar="A,B,..", type=lambda text: named("engine", text, ENGINES))
    add("--in-memory", action="store_true", help="only with budgets well above the data")
    add("--out-of-memory", action="store_true", help="only with data eight times the budget")
    add("--pairs", type=positive(int), metavar="N", help="5 million, or 600,000 with --quick")
    add("--value", type=positive(int), metavar="BYTES", default=100)
    add("--seconds", type=positive(float), metavar="S", help="of a cell: 3, or 0.2")
    add("--load-seconds", type=positive(float), metavar="S",
        help="the most that a load out of memory may take: 20, or 2")
    add("--rounds", type=positive(int), metavar="N",
        help="of Firn and a cell's best two peers: 5, or 3; the other engines have one")
    add("--threads", metavar="N,..", help="1, 2, 4 and so on up to the processors")
    add("--minutes", type=positive(float), metavar="M",
        help="rounds are left out so that it takes no longer: 90, or 5")
    add("--seed", type=positive(int), metavar="N", default=1)
    add("--build", metavar="DIR", default=os.path.join(root, "build", "bench"))
    add("--out", metavar="DIR", help="results, plots and, meanwhile, the data: BUILD/compare")
    add("--slack", type=positive(int), metavar="MIB", default=64,
        help="of the memory groups out of memory, over the budget and a quarter of it: 64")
    add("--no-limits", action="store_true", help="leave out what device and memory allow")
    add("--no-plots", action="store_true")
    add("--table", metavar="FILE", help="only print the table of such results")
    add("--commit", metavar="COMMIT", help="for --table: of this commit, not of the newest run")
    options = parser.parse_args(arguments)
    quick = options.quick

    def default(name, full, short):
        if getattr(options, name) is None:
            setattr(options, name, short if quick else full)
    default("pairs", 5_000_000, 600_000)
    default("seconds", 3.0, 0.2)
    default("load_seconds", 20.0, 2.0)
    default("rounds", 5, 3)
    default("minutes", 90.0, 5.0)
    if options.value < 8:
        parser.error("values have at least 8 bytes")
    options.root = root
    options.only = options.only or list(WORKLOADS)
    options.programs = os.path.join(options.build, "benchmarks", "compare")
    options.out = options.out or os.path.join(options.build, "compare")
    options.threads = threads_of(parser, options.threads)
    both = options.in_memory == options.out_of_memory
    options.memories = [name for name, wanted in (("in", options.in_memory),
                                                  ("out", options.out_of_memory))
                        if both or wanted]
    options.data_bytes = options.pairs * (KEY_BYTES + options.value)
    return options


def threads_of(parser, text):
    if text is None:
        processors = len(os.sched_getaffinity(0))
        return [count for count in (1 << power for power in range(10)) if count <= processors]
    try:
        threads = [int(part) for part in text.split(",")]
    except ValueError:
        threads = [0]
    if min(threads) < 1:
        parser.error(f"--threads takes numbers from 1 on with commas, not '{text}'")
    return threads


def budget_of(options, memory):
    if memory == "in":
        return max(IN_MEMORY_BUDGETS * options.data_bytes, IN_MEMORY_MIN)
    return max(options.data_bytes // BUDGETS_OF_DATA, BUDGET_MIN)
