"""Finds recipes: the Python files of ``experiments/``, or one of the user's own.

A recipe is a file with a docstring (source, command, expected time and score) and a function ``config()``
that returns a :class:`moga_st.engine.RunConfig`, and nothing else.  Where one table of settings has a column for each
size of a network or each variable of a data set, ``config(size)`` takes one, ``SIZES`` lists them, and ``RECIPE:SIZE``
names one.
"""

from __future__ import annotations

import codecs
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from moga_st.config import CHECKOUT
from moga_st.errors import BadInput, nearest

if TYPE_CHECKING:
    from moga_st.engine import RunConfig

# in a checkout experiments/ stands beside the package; an installed package carries it inside
FOLDER = (CHECKOUT or Path(__file__).parent) / "experiments"


def names() -> list[str]:
    """The recipes that can be named on the command line."""
    return sorted(p.stem for p in FOLDER.glob("[a-z]*.py"))


def path(name: str) -> Path:
    """The file of a recipe, by its name or by its own path.

    Raises:
        BadInput: there is no such recipe.
    """
    name = _split(name)[0]
    file = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if file.is_file():
        return file
    raise BadInput(
        f"unknown recipe {name!r}{nearest(name, names())}; there are {', '.join(names())}, or name a .py file"
    )


def load(name: str) -> RunConfig:
    """The config of a recipe, by its name or by the path of its file.

    Raises:
        BadInput: there is no such recipe; the file does not parse, raises or leaves; or it does not define
            ``config()``.
    """
    from moga_st.engine import RunConfig  # torch, which listing the names does not need

    file = path(name)
    with file.open("rb") as content:
        if content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise BadInput(f"{file}: is UTF-16 text; save it as UTF-8")
    spec = importlib.util.spec_from_file_location(f"recipe_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses defined in a recipe are looked up there
    with _one_line(file):
        spec.loader.exec_module(module)
    size, sizes = _split(name)[1], getattr(module, "SIZES", ())
    if size is not None and size not in sizes:
        known = f"there are {', '.join(sizes)}" if sizes else "it has none"
        raise BadInput(f"{name}: no size {size!r} of this recipe{nearest(size, sizes)}; {known}")
    config = None
    if hasattr(module, "config"):
        with _one_line(file, getattr(getattr(module.config, "__code__", None), "co_firstlineno", None)):
            config = module.config() if size is None else module.config(size)
    if not isinstance(config, RunConfig):
        raise BadInput(f"{file}: a recipe defines config() that returns a moga_st.engine.RunConfig")
    return config


@contextmanager
def _one_line(file: Path, line: int | None = None) -> Iterator[None]:
    """Whatever a recipe raises, and that it leaves, is a BadInput that names its line; ``line`` where none is known."""
    try:
        yield
    except (Exception, SystemExit) as error:
        here, what = str(file.absolute()), f"{type(error).__name__}: {error}"
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == here]
        line = lines[-1] if lines else line
        if isinstance(error, SyntaxError):
            line, what = error.lineno if error.filename == here else line, f"{type(error).__name__}: {error.msg}"
        elif isinstance(error, BadInput):
            what = str(error)
        raise BadInput(f"{file}: {'' if line is None else f'line {line}: '}{what}") from error


def _split(name: str) -> tuple[str, str | None]:
    """Recipe and size of ``RECIPE:SIZE``."""
    recipe, colon, size = name.rpartition(":")
    return (recipe, size) if colon and re.fullmatch(r"\w*", size) else (name, None)
