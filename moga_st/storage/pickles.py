"""Pickles read as data: a small machine of our own that calls nothing the file names.

Python's unpickler calls whatever functions a file asks for; even numpy's own can be made to forge pointers.  Here a
name in the file is looked up in a table of readers written for it (numpy's arrays, ordered dicts, ...), which check
their arguments; any other name is refused, or stands in the result as an inert Stranger.  An array's dtype code is one
of a few, its shape is held against the bytes present, and ``numpy.frombuffer`` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moga_st.errors import BadInput
from moga_st.storage.arrays import build_array, check_shape, plain_dtype
from moga_st.storage.opcodes import Machine, Named, Reader, Source, Stranger, Unfinished, hashable
from moga_st.storage.reading import check_size, file_size, open_file

_EXPANDED_MOST = 200_000_000  # values, if everything that is shared stood everywhere it is used


class _Dtype(Unfinished):
    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str):
            raise ValueError(f"a dtype of {code!r:.40}")
        self.code, self.order = code, ""

    def set_state(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise ValueError(f"its type {self.code!r:.40} has fields or a subarray, expected plain numbers")
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"a byte order {state[1]!r:.40}")
        self.order = state[1]

    @property
    def is_object(self) -> bool:
        return self.code in ("O", "O4", "O8", "|O")

    def dtype(self) -> np.dtype:
        code = self.code
        return plain_dtype(self.order + code.lstrip("<>=|") if self.order else code)


class _Array(Unfinished):
    """numpy's array, before its state is there."""

    def __init__(self, *_: Any):
        self.value: Any = None
        self.filled = False

    def set_state(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) in (4, 5)):
            raise ValueError("an array with an unknown state")
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _Dtype) or self.filled:
            raise ValueError("an array without a type")
        self.filled = True
        self.value = _objects(shape, data) if dtype.is_object else _plain(dtype, shape, data, bool(fortran))


def _objects(shape: Any, data: Any) -> Any:
    """An array of Python objects as lists in lists, or as the one object that it holds."""
    if not isinstance(data, list) or not isinstance(shape, tuple) or len(shape) > 3:
        raise ValueError(f"an array of Python objects of shape {shape!r:.40}")
    if len(data) != check_shape(shape):
        raise ValueError("an array of Python objects of another length")
    for n in shape[:0:-1]:
        data = [data[i : i + n] for i in range(0, len(data), n)] if n else []
    return data if shape else data[0]


def _plain(dtype: _Dtype, shape: Any, data: Any, fortran: bool) -> np.ndarray:
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin-1")
    if not isinstance(data, bytes):
        raise ValueError(f"an array over {type(data).__name__}, expected bytes")
    return build_array(dtype.dtype(), shape, data, fortran)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype):
        raise ValueError("a number without a type")
    return _plain(dtype, (), data, False)[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a type")
    return _plain(dtype, shape, data, order == "F")


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError(f"bytes written in {encoding!r:.40}, expected latin1")
    return text.encode("latin-1")


def _dict(items: Any = ()) -> dict[Any, Any]:
    return {key: value for key, value in items}  # noqa: C416 (dict() would take a mapping's own keys())


def _default_dict(_: Any = None, items: Any = ()) -> dict[Any, Any]:
    return _dict(items)


def _bytes(*arguments: Any) -> bytes:
    if arguments and not (len(arguments) == 2 and isinstance(arguments[0], str)):
        raise ValueError("bytes made of something else than text")
    return _encode(*arguments) if arguments else b""


def _list(items: Any = ()) -> list[Any]:
    if not isinstance(items, (list, tuple, set)):
        raise ValueError("a list made of something else than values")
    return list(items)


_READERS: dict[tuple[str, str], Reader] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): _default_dict,
    **{(module, "bytes"): _bytes for module in ("builtins", "__builtin__")},
    **{(module, "list"): _list for module in ("builtins", "__builtin__")},
    **{(module, "set"): lambda items=(): set(hashable(_list(items))) for module in ("builtins", "__builtin__")},
    **{
        (module, "frozenset"): lambda items=(): frozenset(hashable(_list(items)))
        for module in ("builtins", "__builtin__")
    },
}


def read_pickle(path: Path) -> Any:
    """A pickle of plain data: numbers, strings, bytes, lists, tuples, dicts, sets, and numpy's arrays and scalars.

    An array of Python objects becomes a list, or the object itself if it has no dimensions.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; it asks for anything else, which could run code; or it is
            damaged, or larger than the limit.
    """
    with open_file(path) as file:
        size = file_size(file)
        check_size(path, "the file", size)
        return load_pickle(file, size, path)


def load_pickle(
    file: Any,
    size: int,
    source: Path | str,
    readers: Mapping[tuple[str, str], Reader] | None = None,
    strangers: bool = False,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """A pickle from where ``file`` is; see :func:`read_pickle`.

    Args:
        size: bytes of it that there can be.
        readers: for names beside the standard ones.
        strangers: put a :class:`Stranger` where another name stands, instead of refusing.
        persistent: what an object stored outside the pickle is, by what the pickle calls it.
    """
    machine = Machine(Source(file, size), {**_READERS, **(readers or {})}, strangers, persistent)
    try:
        return _Finished(strangers)(machine.run())
    except BadInput as error:
        raise BadInput(f"{source}: {error}") from error
    except RecursionError as error:
        raise BadInput(f"{source}: a pickle nested too deeply") from error
    except Exception as error:  # whatever a damaged one makes of the machine's stack
        raise BadInput(f"{source}: not a readable pickle ({type(error).__name__}: {error!s:.120})") from error


class _Finished:
    """Puts what was read in the place of what stood for it; refuses what contains itself or grows without end."""

    def __init__(self, strangers: bool):
        self.strangers = strangers
        self.done: dict[int, tuple[Any, int]] = {}
        self.inside: set[int] = set()

    def __call__(self, value: Any) -> Any:
        return self.visit(value)[0]

    def visit(self, value: Any) -> tuple[Any, int]:
        """The value, and how many values it is."""
        kind = type(value)
        if kind not in (list, tuple, dict, _Array, _Dtype, Named, Stranger):
            return value, 1
        key = id(value)
        if key in self.done:
            return self.done[key]
        if key in self.inside:
            raise ValueError("it contains itself")
        self.inside.add(key)
        out, count = self._inner(value, kind)
        if count > _EXPANDED_MOST:
            raise ValueError(f"it unfolds into more than {_EXPANDED_MOST:,} values")
        self.inside.discard(key)
        self.done[key] = (out, count)
        return out, count

    def _inner(self, value: Any, kind: type) -> tuple[Any, int]:
        if kind is dict:
            count = 1
            for k, v in value.items():
                value[k], n = self.visit(v)
                count += n
            return value, count
        if kind is list or kind is tuple:
            parts = [self.visit(v) for v in value]
            values = [v for v, _ in parts]
            if kind is list:
                value[:] = values
            return value if kind is list else tuple(values), 1 + sum(n for _, n in parts)
        if kind is _Array:
            if not value.filled:
                raise ValueError("an array without values")
            out, count = self.visit(value.value)
            return out, 1 + count
        if kind is Stranger:
            value.arguments, first = self.visit(value.arguments)
            value.state, second = self.visit(value.state)
            value.items, third = self.visit(value.items)
            return value, 1 + first + second + third
        if kind is Named and getattr(value.reader, "constant", None) is not None:
            return value.reader.constant, 1
        if kind is Named and self.strangers:
            return Stranger(value.name), 1
        raise ValueError(f"{getattr(value, 'name', 'a type')} stands where plain data is expected")
