"""Which cells there are, in which order, and how many rounds of one fit into the time."""
import time

from .options import LOADS

# What a run takes until one like it was timed.
LOADED_PAIRS_PER_SECOND = 100_000
READ_BYTES_PER_SECOND = 500_000_000
START_SECONDS = 0.5


def cells_of(options):
    """(workload, memory); the load that makes everybody's files comes first, asked for or not."""
    cells = [("load-random", "in")]
    for memory in options.memories:
        for workload in options.only:
            if (workload, memory) in cells:
                continue
            if workload == "commit-sync" and memory == "out" and "in" in options.memories:
                continue  # the log decides, not where the data is
            cells.append((workload, memory))
    return cells


class Clock:
    """The time that is left and what runs take."""

    def __init__(self, options, threads_of):
        self.options, self.threads_of = options, threads_of
        self.deadline = time.monotonic() + 60 * options.minutes
        self.taken = {}  # kind of run: [seconds]

    def left(self):
        return self.deadline - time.monotonic()

    @staticmethod
    def _kind(workload, memory):
        return workload if workload in LOADS + ("commit-sync",) else "run", memory

    def note(self, workload, memory, seconds):
        self.taken.setdefault(self._kind(workload, memory), []).append(seconds)

    def seconds_of(self, workload, memory):
        known = self.taken.get(self._kind(workload, memory))
        if known:
            return sum(known) / len(known)
        options = self.options
        if workload in LOADS:
            seconds = options.pairs / LOADED_PAIRS_PER_SECOND
            return START_SECONDS + (seconds if memory == "in"
                                    else min(seconds, options.load_seconds))
        segments = len(self.threads_of(workload)) + (1 if memory == "out" else 0.2)
        return (START_SECONDS + options.seconds * segments
                + options.data_bytes / READ_BYTES_PER_SECOND)

    def further_rounds(self, cells, place, contenders, engines_of):
        """How many more of this cell fit, if all later cells get their first and as many."""
        first = sum(len(engines_of(workload)) * self.seconds_of(workload, memory)
                    for workload, memory in cells[place + 1:])
        each = contenders * sum(self.seconds_of(*cell) for cell in cells[place:])
        return max(0, min(self.options.rounds - 1, int((self.left() - first) / each)))
