"""Configs: frozen dataclasses that build what they describe and survive a round trip through JSON.

A field that holds a sub-config is annotated with a base class (``ModelConfig``, ``TaskConfig``, ...); a
new model or data set is then a new subclass in a file of its own, with nothing to register anywhere.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import json
import os
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn


C = TypeVar("C", bound="Config")

_parent = Path(__file__).parents[1]
CHECKOUT = _parent if (_parent / "setup.cfg").is_file() else None
"""The checkout that the package runs from; None when it is installed."""


class BadInput(ValueError):
    """Input the user can mend: the message names it, says what was expected and what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` when a known name is close, else an empty string."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def data_root(given: Path | None) -> Path:
    """The folder that holds data: ``given`` (--data-root), else ``MOGA_ST_DATA``, else ``datasets/`` of the
    checkout, else ``~/.cache/moga_st``.

    Raises:
        BadInput: a folder was named and does not exist.
    """
    named, where = (given, "--data-root") if given else (os.environ.get("MOGA_ST_DATA"), "MOGA_ST_DATA")
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            raise BadInput(f"{where}: {root} is no folder; create it or name the folder that holds the data")
        return root
    return CHECKOUT / "datasets" if CHECKOUT is not None else Path.home() / ".cache" / "moga_st"


@dataclass(frozen=True)
class Config:
    """Base of all configs.

    In JSON a config is an object of its fields plus ``"kind": "module:Class"``, which says what to build.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is its inverse."""
        hints = typing.get_type_hints(type(self))
        fields = {f.name: _encode(getattr(self, f.name), hints[f.name]) for f in dataclasses.fields(self)}
        return {"kind": f"{type(self).__module__}:{type(self).__qualname__}", **fields}

    @classmethod
    def from_dict(cls: type[C], data: dict[str, Any]) -> C:
        """Rebuild a config.

        Raises:
            BadInput: an unknown kind or field, or a kind that is no subclass of this class.
        """
        kind = _find_class(data.get("kind", ""))
        if not issubclass(kind, cls):
            raise BadInput(f"config kind {data['kind']!r} is not a {cls.__name__}")
        hints = typing.get_type_hints(kind)
        known = {f.name for f in dataclasses.fields(kind)}
        for name in data:
            if name != "kind" and name not in known:
                raise BadInput(f"{kind.__name__} has no field {name!r}{nearest(name, known)}")
        return kind(**{name: _decode(value, hints[name]) for name, value in data.items() if name != "kind"})

    def digest(self) -> str:
        """Eight hex digits that identify the resolved config: the folder name of its run."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class ModelConfig(Config):
    """Describes one network; ``build()`` makes it, freshly initialised, on the CPU."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one input, without batch: where operations are counted and speed is measured."""
        raise NotImplementedError

    def build(self) -> nn.Module:
        raise NotImplementedError


def _encode(value: Any, hint: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        of = typing.get_args(hint) or (Any,)
        # tuple[X, ...] repeats its first, tuple[X, Y] has one for each
        return [_encode(v, of[i] if Ellipsis not in of and i < len(of) else of[0]) for i, v in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if hint is float and isinstance(value, int):
        return float(value)  # 4 and 4.0 are one config and must have one digest
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a config field cannot hold {type(value).__name__}")


def _decode(value: Any, hint: Any) -> Any:
    if isinstance(value, dict):
        return Config.from_dict(value)
    if isinstance(value, list):
        return tuple(_decode(v, None) for v in value)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return Path(value) if isinstance(value, str) and Path in options else value


def _find_class(kind: str) -> type[Config]:
    """The class named "module:Class".  Only this package's modules are imported for it: a weights file
    must not be able to import what it likes, so other code has to be imported by whoever uses it."""
    module_name, _, class_name = kind.partition(":")
    module = sys.modules.get(module_name)
    if module is None and module_name.startswith("moga_st."):
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            module = None
    found = getattr(module, class_name, None) if module else None
    if not (isinstance(found, type) and issubclass(found, Config)):
        raise BadInput(
            f"unknown config kind {kind!r}: it comes from another version of moga_st or from your own code; "
            "import the module that defines it first"
        )
    return found
