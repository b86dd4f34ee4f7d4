"""Flags from the command line."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def named(name: str) -> Any:
    """How the usage and the help call an argument that has no flag, in place of its type."""
    return tyro.conf.arg(metavar=name)


def parse(kind: type[T], prog: str, argv: list[str], **options: Any) -> T:
    """``argv`` as a ``kind``, by tyro; what it says of mistakes is escaped, since it repeats what the shell found.

    Args:
        options: tyro's own.

    Raises:
        SystemExit: help was asked for, or a mistake, which has been said.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=prog, args=argv, **options)
    except SystemExit:
        from moga_st.storage import escape

        sys.stderr.write(escape(said.getvalue(), lines=True))
        raise
