"""Data that come from a disk, read ahead of time by a thread, in the order of their numbers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

AHEAD = 4  # batches


class Feed:
    """``fetch(first)``, ``fetch(first + 1)``, ... up to ``stop``, each ready before it is asked for where the disk
    keeps up.  ``fetch`` is a pure function of its number, so nothing of this needs to be saved to resume.

    Where the first one is None, nothing is read at all, and there is no thread.  What ``fetch`` raises comes out where
    its batch is asked for.
    """

    def __init__(self, fetch: Callable[[int], Any], first: int, stop: int):
        self._fetch, self._next, self._stop = fetch, first, stop
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._first: Any = None
        self.waited_s = 0.0
        """Seconds that were spent waiting for data."""

    def __enter__(self) -> Feed:
        if self._next < self._stop:
            self._first = self._fetch(self._next)
            if self._first is not None:
                self._thread = threading.Thread(target=self._read, daemon=True, name="feed")
                self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def take(self, number: int) -> Any:
        """What ``fetch(number)`` gave; numbers follow each other."""
        assert number == self._next, f"batch {number} was asked for, {self._next} is next"
        self._next += 1
        if self._thread is None:
            return None
        if self._first is not None:
            taken, self._first = self._first, None
            return taken
        start = time.perf_counter()
        taken, error = self._queue.get()
        self.waited_s += time.perf_counter() - start
        if error is not None:
            raise error
        return taken

    def _read(self) -> None:
        for number in range(self._next + 1, self._stop):
            try:
                item: tuple[Any, BaseException | None] = (self._fetch(number), None)
            except BaseException as error:  # it is the loop's to raise
                item = (None, error)
            while not self._closed.is_set():
                try:
                    self._queue.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._closed.is_set() or item[1] is not None:
                return
