"""Flags from the command line."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any, TypeVar

import tyro

from moga_st.errors import BadInput

T = TypeVar("T")
_WRONG_VALUE = re.compile(
    r"error parsing (?P<flag>\S+): "
    r"(.*?(from|arguments) \[(?P<several>.*?)\](\.\s+Got errors| into tuple).*|.*: (?P<one>'.*'))"
    r"; it is given as \S+ (?P<form>.+)"
)


def named(name: str) -> Any:
    """How the usage and the help call an argument that has no flag, in place of its type."""
    return tyro.conf.arg(metavar=name)


def parse(kind: type[T], prog: str, argv: list[str], **options: Any) -> T:
    """``argv`` as a ``kind``, by tyro.

    Args:
        options: tyro's own.

    Raises:
        BadInput: a mistake.
        SystemExit: help was asked for, and printed.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=prog, args=argv, **options)
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise BadInput(f"{_without_types(_one_line(said.getvalue()))}; `{prog} --help` tells the rest") from None


def _one_line(said: str) -> str:
    """What tyro says of a mistake, a box for the eye, as one line: what is wrong, and the flags it names; their
    descriptions are left to the help.

    The box has colours on a terminal, and no sides where that cannot show them.  A rule ends a part, the last of which
    names the help; in a part, text stands at the margin, flags four columns in and descriptions eight.
    """
    parts: list[tuple[list[str], list[str]]] = [([], [])]
    for line in re.sub(r"\x1b\[[\d;]*m", "", said).replace("│", " ").splitlines():
        if not line.startswith("  "):
            continue
        inside = line[2:].rstrip()
        if set(inside) in ({"─"}, {"-"}):
            parts.append(([], []))
            continue
        depth = len(inside) - len(inside.lstrip())
        if depth in (0, 4):
            parts[-1][depth // 4].append(inside.strip())
    sentences = []
    for text, flags in parts:
        if text[:1] == ["Argument helptext:"]:
            text, flags = ["it is given as"], flags[:1]
        sentences.append(" ".join([*text, ", ".join(flags)]).strip(" ."))
    found = [s[0].lower() + s[1:] for s in sentences if s and not s.startswith("For full helptext")]
    return "; ".join(found) or " ".join(said.split())  # a box of another shape, as it is


def _without_types(said: str) -> str:
    """tyro names the Python types of a value that it cannot read, and counts None among choices: in plain words."""
    wrong = _WRONG_VALUE.fullmatch(said)
    if wrong is None:
        return re.sub(r"'None', |, 'None'", "", said)
    form = re.sub(r"\{None\}\||[{}]", "", wrong["form"])
    kind = next((plain for name, plain in (("INT", "whole number"), ("FLOAT", "number")) if name in form), None)
    if kind is not None and set(form) <= set("INTFLOA []."):
        count = len(form.split())
        form = f"{kind}s" if "[" in form else f"a {kind}" if count == 1 else f"{count} {kind}s"
    return f"{wrong['flag']}: expected {form}, got {wrong['several'] or wrong['one']}"
