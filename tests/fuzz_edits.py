"""How files for readers are damaged: a reader's small valid files are changed by edits, bytes flipped, cut, repeated,
overwritten by extreme numbers; and, where the format holds a structure (JSON, pickles, npz, checkpoints), values are
swapped for others, nested, huge, negative, NaN."""

from __future__ import annotations

import copy
import functools
import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from moga_st.errors import BadInput


class Reader(NamedTuple):
    """One reader: the name of its file, valid contents for it, and the call."""

    file: str
    valid: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    objects: Callable[[], list[Any]] = list
    """Structures for it, to be changed before they are written."""
    write: Callable[[Any], bytes] = repr  # type: ignore[assignment]


Edit = tuple[int, float, int]
"""Which change, where in the file (0 to 1), and a number that it may use."""
NUMBERS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1, 10**9)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 10**9, -(10**9), 2**31, 2**63, 10**30, 1.5, -0.0, 1e300, -1e38, math.nan, math.inf, ""),
    *("x", "9" * 50, "\x1b[2J\n", "a/../../b", "é\ud800", [], {}, [[]], [1, [2, 3]], {"x": {"y": []}}, [math.nan] * 3),
    *("[" * 300, [[[[[[[[1]]]]]]]], [0] * 1000, {str(i): i for i in range(50)}),
)


def edit_bytes(raw: bytes, edits: list[Edit]) -> bytes:
    """``raw`` after some edits."""
    out = bytearray(raw)
    for kind, where, number in edits:
        at, size = int(where * len(out)), number % 64
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << number % 8
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at // 2 : at // 2 + size]
        elif kind == 4:
            form = "<>"[number % 2] + "BHIQ"[number // 2 % 4]
            value = NUMBERS[number // 8 % len(NUMBERS)]
            field = struct.pack(form, value % 2 ** (8 * struct.calcsize(form)))
            out[at : at + len(field)] = field
        elif kind == 5:  # a number in a text
            out[at:at] = (b"9", b"-", b"e9", b"nan", b"\0", b"\xff", b"[", b"{", b"(", b"\n")[number % 10]
        else:
            out[at : at + size] = bytes([number % 256]) * size
    return bytes(out)


def edit_object(value: Any, edits: list[Edit]) -> Any:
    """``value`` after some edits of what it holds."""
    value = copy.deepcopy(value)
    for kind, where, number in edits:
        places = _places(value)
        if not places:
            return VALUES[number % len(VALUES)]
        holder, key = places[min(int(where * len(places)), len(places) - 1)]
        old, other = holder[key], VALUES[number % len(VALUES)]
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, other)
        elif kind == 2:
            holder[key] = [old]
        elif kind == 3 and isinstance(holder, dict):
            holder[f"{key}"[: number % 9] + "x"] = old
        elif kind == 4 and isinstance(old, np.ndarray):
            holder[key] = _edit_array(old, number)
        elif kind == 5 and isinstance(old, torch.Tensor):
            holder[key] = old.reshape(-1)[: number % 5].to((torch.float64, torch.int32, torch.bool)[number % 3])
        else:
            holder[key] = other
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in ``value`` under which something stands."""
    found, todo = [], [value]
    while todo and len(found) < 2000:
        holder = todo.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in list(keys):
            found.append((holder, key))
            todo.append(holder[key])
    return found


def _edit_array(array: np.ndarray, number: int) -> Any:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: np.atleast_1d(array)[: number % 3],
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.astype(("f2", "i8", "?", "U5", "S3", ">f8")[number % 6]),
        lambda: (
            np.full_like(array, (math.nan, math.inf, 1e30)[number % 3])
            if array.dtype.kind == "f"
            else array.reshape(-1)[:0]
        ),
        lambda: array.T,
        lambda: np.array([array.tolist(), None], object),
    )
    with np.errstate(all="ignore"):  # a number too large for a half is meant to become infinite
        return ways[number // 6 % len(ways)]()


@functools.cache
def _material(reader: Reader) -> tuple[list[bytes], list[Any]]:
    return reader.valid(), reader.objects()


def spoilt(reader: Reader, choice: int, edits: list[Edit]) -> bytes | None:
    """The content of a file for a reader; None where an edited structure cannot be written."""
    valid, objects = _material(reader)
    n = choice % (len(valid) + len(objects))
    if n < len(valid):
        return edit_bytes(valid[n], edits)
    try:
        return reader.write(edit_object(objects[n - len(valid)], edits))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def outcome(reader: Reader, content: bytes, folder: Path) -> str:
    """ "accepted", "refused", or the name of an error that is no BadInput."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except BadInput as error:
        names = (*Path(reader.file).parts, "clip ")
        return "refused" if any(name in str(error) for name in names) else f"nameless: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"
