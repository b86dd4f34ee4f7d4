"""Where Python need not look for garbage: that takes 0.2 s of a command's start, and 0.3 s of its end."""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def not_collecting() -> Iterator[None]:
    """For imports: the hundreds of thousands of objects that they make stay, and are looked through again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def leave_all_at_exit() -> None:
    """When the process ends, its memory goes with it: nothing of what is there then is looked through once more."""
    atexit.register(gc.freeze)


def bring_torch() -> None:
    """Import torch, which most of a short command's time goes into."""
    with not_collecting():
        import torch  # noqa: F401
