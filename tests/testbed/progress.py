"""Progress on long steps: one line a step with the seconds since the start, and signs of life in between."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_S = 10.0


class Step:
    """One step under way; `note` says what it is doing just now."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.latest = ""

    def note(self, latest: str) -> None:
        """Remember what the next sign of life shows."""
        self.latest = latest


class Progress:
    """Writes progress to a stream; `quiet` writes nothing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line, with the seconds since this object was made."""
        if self._quiet:
            return
        with self._lock:
            print(
                f"[{time.monotonic() - self._start:6.1f} s] {text}",
                file=self._stream or sys.stderr,
                flush=True,
            )

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Announce a step, show every `HEARTBEAT_S` seconds that it is alive."""
        self.say(text)
        step, done = Step(text), threading.Event()
        began = time.monotonic()

        def beat() -> None:
            while not done.wait(HEARTBEAT_S):
                self.say(f"  … {text}: {time.monotonic() - began:.0f} s{step.latest and ', ' + step.latest}")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield step
        finally:
            done.set()
            thread.join()
