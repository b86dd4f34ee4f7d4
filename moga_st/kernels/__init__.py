"""Kernels, each beside the plain PyTorch definition that serves where the kernel cannot.

One switch turns all of them off: the environment variable ``MOGA_ST_KERNELS=0``, read once, or, for part of a
program, ``with kernels.use(False):``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

enabled = os.environ.get("MOGA_ST_KERNELS", "1") != "0"
"""Whether kernels run where they can.  torch.compile guards on it: a compiled function follows the switch."""


@contextmanager
def use(kernels: bool) -> Iterator[None]:
    """Turn the kernels on or off within a ``with`` statement (of this process, so of all its threads)."""
    global enabled
    before, enabled = enabled, kernels
    try:
        yield
    finally:
        enabled = before
