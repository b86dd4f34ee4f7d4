"""SIGINT and SIGTERM end a run: before its first update at once, then after its state is saved."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from moga_st.errors import Interrupted

IMPATIENT_S = 5.0


@contextmanager
def raised() -> Iterator[None]:
    """Inside, SIGTERM raises, as SIGINT does: what is to be closed is closed, other processes among it.

    Raises:
        Interrupted: SIGTERM came.
    """

    def end(signum: int, _frame: FrameType | None) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Signals:
    """In a ``with``: the first SIGINT or SIGTERM is noted in ``caught``; one that comes again after seconds acts as
    without us.  (Under torchrun the terminal and the launcher both send one, at the same moment.)"""

    def __init__(self) -> None:
        self.caught = 0
        """The first one's number; 0 for none."""
        self._first_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.caught and time.monotonic() - self._first_s > IMPATIENT_S:
            signal.signal(signum, self._before[signum])
            os.kill(os.getpid(), signum)
        elif not self.caught:
            self.caught, self._first_s = signum, time.monotonic()
