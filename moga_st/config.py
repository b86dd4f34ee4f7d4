"""Configs: frozen dataclasses that build what they describe and survive a round trip through JSON.

A field that holds a sub-config is annotated with a base class (``ModelConfig``, ``TaskConfig``, ...); a new model
or data set is then a new subclass in a file of its own, with nothing to register anywhere else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import pkgutil
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from moga_st.errors import BadInput, nearest

if TYPE_CHECKING:
    from torch import nn

    from moga_st.spec import InputSpec


C = TypeVar("C", bound="Config")
M = TypeVar("M", bound="ModelConfig")

_parent = Path(__file__).parents[1]
CHECKOUT = _parent if (_parent / "setup.cfg").is_file() else None
"""The checkout that the package runs from; None when it is installed."""


def data_root(given: Path | None) -> Path:
    """The folder that holds data: ``given`` (--data-root), else ``MOGA_ST_DATA``, else ``datasets/`` of the
    checkout, else ``~/.cache/moga_st``.

    Raises:
        BadInput: a folder was named and does not exist.
    """
    named, where = (given, "data root") if given else (os.environ.get("MOGA_ST_DATA"), "MOGA_ST_DATA")
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            raise BadInput(f"{where}: {root} is no folder; create it or name the folder that holds the data")
        return root
    if CHECKOUT is not None:
        return CHECKOUT / "datasets"
    try:
        return Path.home() / ".cache" / "moga_st"
    except RuntimeError as error:  # no HOME
        raise BadInput("data root: there is no home folder to look in; set MOGA_ST_DATA") from error


def launched() -> bool:
    """Whether torchrun started this process, and not a shell that happens to have a RANK."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"))


@dataclass(frozen=True)
class Config:
    """Base of all configs.

    In JSON a config is an object of its fields plus ``"kind"``, a short name that stays when the class moves::

        class MNISTConfig(DigitsConfig, kind="mnist", was=("moga_st.data.digits:MNISTConfig",)): ...

    A class without a kind, such as one that a recipe defines for itself, is called ``module:Class``.  Files written
    before kinds were short call every class so: ``was`` lists what they call one that has moved since.

    A base class names its ``rooms``: the modules and packages of this package in which its subclasses live, which are
    imported when a kind is not known yet.
    """

    kind: ClassVar[str]
    rooms: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, kind: str = "", was: tuple[str, ...] = (), rooms: tuple[str, ...] = ()) -> None:
        super().__init_subclass__()
        place = f"{cls.__module__}:{cls.__qualname__}"
        cls.kind = kind or place
        cls.rooms = rooms or cls.rooms
        for name in (cls.kind, place, *was):
            other = _KINDS.setdefault(name, cls)
            # a recipe read twice defines its classes twice; the last one counts, as Python has it
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"config kind {name!r} is taken by {other.__module__}.{other.__qualname__}")
            _KINDS[name] = cls

    @classmethod
    def kinds(cls: type[C]) -> dict[str, type[C]]:
        """Every config of this base class that can be named, by its kind: the package's own, and those that other
        code has defined so far."""
        for _ in _import_rooms(cls.rooms):
            pass
        found = {c.kind: c for c in _KINDS.values() if issubclass(c, cls) and c is not cls}
        # a class of this package that has no short name is a base of others
        found = {kind: c for kind, c in found.items() if ":" not in kind or not kind.startswith("moga_st.")}
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is its inverse."""
        hints = typing.get_type_hints(type(self))
        fields = {f.name: _encode(getattr(self, f.name), hints[f.name]) for f in dataclasses.fields(self)}
        return {"kind": self.kind, **fields}

    @classmethod
    def from_dict(cls: type[C], data: dict[str, Any]) -> C:
        """Rebuild a config; fields that ``data`` lacks have their defaults.

        Raises:
            BadInput: an unknown kind or field, a kind that is no subclass of this class, or a value of another type.
        """
        kind = _find_class(data.get("kind", ""), cls)
        hints = typing.get_type_hints(kind)
        known = {f.name: f for f in dataclasses.fields(kind)}
        for name in data:
            if name != "kind" and name not in known:
                raise BadInput(f"{kind.__name__} has no field {name!r}{nearest(name, known)}")
        for name, field in known.items():
            no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if no_default and name not in data:
                raise BadInput(f"{kind.__name__} lacks its field {name!r}")
        return kind(**{k: _decode(v, hints[k], f"{kind.__name__}.{k}") for k, v in data.items() if k != "kind"})

    def paths(self) -> Iterator[tuple[str, Path]]:
        """The fields that name files or folders, here and in the configs inside: where, and which."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Config):
                yield from ((f"{field.name}.{name}", path) for name, path in value.paths())
            elif isinstance(value, Path) or (isinstance(value, str) and field.name in ("file", "folder")):
                yield field.name, Path(value)

    def digest(self) -> str:
        """Eight hex digits of the resolved config: a label for the folder of its run."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


_KINDS: dict[str, type[Config]] = {}


@dataclass(frozen=True)
class ModelConfig(Config, rooms=("moga_st.models", "moga_st.integrations.mmpose_lifters", "moga_st.integrations.timm")):
    """Describes one network."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one input, without batch: where operations are counted and speed is measured."""
        raise NotImplementedError

    def fit(self: M, spec: InputSpec) -> M:  # noqa: ARG002 (a network that takes anything has nothing to fit)
        """This config with what it leaves open filled in from the data.

        Raises:
            BadInput: the data contradict what it does not leave open.
        """
        return self

    def build(self) -> nn.Module:
        """The network, freshly initialised, on the CPU."""
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


def _decode(value: Any, hint: Any, where: str) -> Any:
    """The field's value from JSON, of the type that the field is annotated with."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        for option in typing.get_args(hint):
            try:
                return _decode(value, option, where)
            except BadInput:
                if isinstance(value, dict) and isinstance(option, type) and issubclass(option, Config):
                    raise  # it says what is wrong inside
    elif typing.get_origin(hint) is typing.Literal:
        if value in typing.get_args(hint):
            return value
    elif typing.get_origin(hint) is tuple:
        of = typing.get_args(hint)
        if isinstance(value, (list, tuple)) and (Ellipsis in of or len(value) == len(of)):
            return tuple(_decode(v, of[0] if Ellipsis in of else of[i], f"{where}[{i}]") for i, v in enumerate(value))
    elif isinstance(hint, type) and issubclass(hint, Config):
        if isinstance(value, dict):
            return hint.from_dict(value)
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is type(None):
        if value is None:
            return value
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint)).replace("NoneType", "null")
    raise BadInput(f"{where}: expected {expected}, got {value!r:.40}")


def _find_class(kind: Any, base: type[C]) -> type[C]:
    """The class that ``kind`` names.  Only this package's modules are imported for it: a weights file must not be able
    to import what it likes, so other code has to be imported by whoever uses it."""
    found = _KINDS.get(kind) if isinstance(kind, str) else None
    rooms = _import_rooms(base.rooms)
    while found is None and isinstance(kind, str) and next(rooms, None):
        found = _KINDS.get(kind)
    if found is None:
        raise BadInput(
            f"unknown config kind {kind!r:.60}: it comes from another version of moga_st or from your own code; "
            "import the module that defines it first"
        )
    if not issubclass(found, base):
        raise BadInput(f"config kind {kind!r} is not a {base.__name__}")
    return found


def _import_rooms(rooms: tuple[str, ...]) -> Iterator[str]:
    """Import the modules of ``rooms`` one after the other; those whose packages are not installed are left out."""
    for room in rooms:
        # a room's name is this package's own, written in the class that has it
        with contextlib.suppress(ImportError):
            package = importlib.import_module(room)
            yield room
            for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{room}."):
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)
                    yield module.name
