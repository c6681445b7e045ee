"""One line that is written over on a terminal; elsewhere one a cell."""
import sys
import time


class Progress:
    def __init__(self, total, minutes_max):
        self.total, self.minutes_max, self.begun = total, minutes_max, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.done = 0

    def step(self, text):
        if self.terminal:
            minutes = (time.monotonic() - self.begun) / 60
            print(f"\r\033[K{self.done + 1}/{self.total} {text}; {minutes:.1f} of at most "
                  f"{self.minutes_max:g} min", end="", file=sys.stderr, flush=True)

    def cell_done(self, text):
        self.done += 1
        if not self.terminal:
            print(f"{self.done}/{self.total} {text}", file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
