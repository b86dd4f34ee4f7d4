"""The machine that a pickle is a program for, without its calls: see :mod:`moga_st.storage.pickles`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from moga_st.errors import BadInput

_LINE_MOST = 65_536  # bytes
_LONG_MOST = 255  # bytes of an integer


class Stranger:
    """Something that the file says is a ``name`` of other code: inert, never made or called.

    ``arguments``, ``state`` and ``items`` are what it would be made of.
    """

    def __init__(self, name: str, arguments: Any = (), state: Any = None):
        self.name, self.arguments, self.state = name, arguments, state
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"<{self.name}>"


def strangers_in(content: Any) -> list[Stranger]:
    """All that are somewhere in what was read, which may hold a part of it many times over."""
    found, seen, todo = [], set[int](), [content]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Stranger):
            found.append(value)
        elif isinstance(value, (dict, list, tuple)):
            todo += value.values() if isinstance(value, dict) else value
    return found


Reader = Callable[..., Any]
"""What stands for a name in a pickle: takes the arguments that the file gives, returns plain data or raises.  One with
an attribute ``constant`` may also stand in the data, as that."""


class Named:
    """A name that the file mentions, and its reader."""

    def __init__(self, name: str, reader: Reader | None):
        self.name, self.reader = name, reader

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Unfinished:
    """What a reader returns whose state comes after it."""

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class Source:
    """The bytes, of which no more are asked for than there are."""

    def __init__(self, file: Any, size: int):
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise ValueError(f"it is cut short: {count:,} bytes are announced, {self._left:,} are left")
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it is cut short")
        self._left -= count
        return data

    def line(self) -> bytes:
        data = self._file.readline(min(_LINE_MOST, self._left + 1))
        if not data.endswith(b"\n"):
            raise ValueError("it is cut short, or has a line without an end")
        self._left -= len(data)
        return data[:-1].removesuffix(b"\r")

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def sized(self, form: str) -> bytes:
        return self.read(self.number(form))


def _text_integer(s: Source) -> int | bool:
    line = s.line().rstrip(b"L")
    if len(line) > 2 * _LONG_MOST:
        raise ValueError("an integer of too many digits")
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line)


def _long(data: bytes) -> int:
    if len(data) > _LONG_MOST:
        raise ValueError("an integer of too many digits")
    return int.from_bytes(data, "little", signed=True)


def _quoted(s: Source) -> str:
    line = s.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
        raise ValueError("a string without quotes")
    return line[1:-1].decode("unicode_escape")  # as Python 2 wrote them, each \x80 one character


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


# opcodes that push one value which they hold (pickletools lists them)
_PUSH: dict[bytes, Callable[[Source], Any]] = {
    b"N": lambda _: None,
    b"\x88": lambda _: True,
    b"\x89": lambda _: False,
    b"K": lambda s: s.number("<B"),
    b"M": lambda s: s.number("<H"),
    b"J": lambda s: s.number("<i"),
    b"I": _text_integer,
    b"L": _text_integer,
    b"\x8a": lambda s: _long(s.sized("<B")),
    b"\x8b": lambda s: _long(s.sized("<I")),
    b"F": lambda s: float(s.line()),
    b"G": lambda s: s.number(">d"),
    b"S": _quoted,
    b"T": lambda s: s.sized("<I").decode("latin-1"),
    b"U": lambda s: s.sized("<B").decode("latin-1"),
    b"V": lambda s: s.line().decode("raw-unicode-escape"),
    b"X": lambda s: _utf8(s.sized("<I")),
    b"\x8c": lambda s: _utf8(s.sized("<B")),
    b"\x8d": lambda s: _utf8(s.sized("<Q")),
    b"B": lambda s: s.sized("<I"),
    b"C": lambda s: s.sized("<B"),
    b"\x8e": lambda s: s.sized("<Q"),
    b"\x96": lambda s: s.sized("<Q"),
    b"]": lambda _: [],
    b")": lambda _: (),
    b"}": lambda _: {},
    b"\x8f": lambda _: set(),
}


class Machine:
    """Runs a pickle's opcodes over a stack, a list of marked places in it, and a memo."""

    def __init__(
        self,
        source: Source,
        readers: Mapping[tuple[str, str], Reader],
        strangers: bool,
        persistent: Callable[[Any], Any] | None,
    ):
        self.source, self.readers, self.strangers, self.persistent = source, readers, strangers, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        s = source
        self.work: dict[bytes, Callable[[], Any]] = {
            b"\x80": lambda: s.number("<B"),
            b"\x95": lambda: s.number("<Q"),  # the length of a frame, which is only for reading ahead
            b"(": lambda: self.marks.append(len(self.stack)),
            b"0": self.stack.pop,
            b"1": self._since_mark,
            b"2": lambda: self.stack.append(self.stack[-1]),
            b"p": lambda: self._put(int(s.line())),
            b"q": lambda: self._put(s.number("<B")),
            b"r": lambda: self._put(s.number("<I")),
            b"\x94": lambda: self._put(len(self.memo)),
            b"g": lambda: self.stack.append(self.memo[int(s.line())]),
            b"h": lambda: self.stack.append(self.memo[s.number("<B")]),
            b"j": lambda: self.stack.append(self.memo[s.number("<I")]),
            b"l": lambda: self.stack.append(self._since_mark()),
            b"t": lambda: self.stack.append(tuple(self._since_mark())),
            b"d": lambda: self.stack.append(_pairs({}, self._since_mark())),
            b"\x85": lambda: self._tuple(1),
            b"\x86": lambda: self._tuple(2),
            b"\x87": lambda: self._tuple(3),
            b"a": lambda: self._top(list).append(self.stack.pop()),
            b"e": lambda: self._extend(self._since_mark()),
            b"s": lambda: self._set_item(self.stack.pop(), self.stack.pop()),
            b"u": lambda: self._set_items(self._since_mark()),
            b"\x90": lambda: self._add(self._since_mark()),
            b"\x91": lambda: self.stack.append(frozenset(hashable(self._since_mark()))),
            b"c": lambda: self._name(_utf8(s.line()), _utf8(s.line())),
            b"\x93": lambda: self._stack_name(self.stack.pop(), self.stack.pop()),
            b"R": lambda: self._make(self.stack.pop(), self.stack.pop()),
            b"\x81": lambda: self._make(self.stack.pop(), self.stack.pop()),
            b"b": lambda: self._state(self.stack.pop()),
            b"P": lambda: self._outside(_utf8(s.line())),
            b"Q": lambda: self._outside(self.stack.pop()),
        }

    def run(self) -> Any:
        source, stack, work = self.source, self.stack, self.work
        while (code := source.read(1)) != b".":
            if push := _PUSH.get(code):
                stack.append(push(source))
            elif do := work.get(code):
                do()
            else:
                raise ValueError(f"opcode {code!r} is unknown, or no plain data needs it")
        return stack.pop()

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def _tuple(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise ValueError("a tuple of what is not there")
        self.stack[-count:] = [values]

    def _top(self, kind: type) -> Any:
        """The container below the value on top, to which that is added."""
        below = self.stack[-2]
        if isinstance(below, Stranger):
            return below.items
        if type(below) is not kind:
            raise ValueError(f"adds to {type(below).__name__} as if it were a {kind.__name__}")
        return below

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], Stranger):
            self.stack[-1].items.extend(values)
            return
        if type(self.stack[-1]) is not list:
            raise ValueError("adds values to what is no list")
        self.stack[-1].extend(values)

    def _set_item(self, value: Any, key: Any) -> None:
        self._set_items([key, value])

    def _set_items(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], Stranger):
            self.stack[-1].items.extend(values)
            return
        if type(self.stack[-1]) is not dict:
            raise ValueError("sets items of what is no dict")
        _pairs(self.stack[-1], values)

    def _add(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise ValueError("adds to what is no set")
        self.stack[-1].update(hashable(values))

    def _stack_name(self, name: Any, module: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is no text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        reader = self.readers.get((module, name))
        if reader is None and not self.strangers:
            raise BadInput(f"its pickle asks for {module}.{name}, which is no plain data; do not trust this file")
        self.stack.append(Named(f"{module}.{name}", reader))

    def _make(self, arguments: Any, what: Any) -> None:
        if not isinstance(what, Named) or not isinstance(arguments, tuple):
            raise ValueError("calls what is no name")
        if what.reader is None:
            self.stack.append(Stranger(what.name, arguments))
        else:
            self.stack.append(what.reader(*arguments))

    def _state(self, state: Any) -> None:
        top = self.stack[-1]
        if isinstance(top, Unfinished):
            top.set_state(state)
        elif isinstance(top, Stranger):
            top.state = state
        elif not isinstance(top, dict):  # attributes that somebody hung on an ordered dict say nothing here
            raise ValueError(f"sets the state of {type(top).__name__}")

    def _outside(self, what: Any) -> None:
        if self.persistent is None:
            raise BadInput("its pickle is part of something else; expected one that stands alone")
        self.stack.append(self.persistent(what))


def _pairs(into: dict[Any, Any], values: list[Any]) -> dict[Any, Any]:
    if len(values) % 2:
        raise ValueError("a dict with a key that has no value")
    into.update(zip(hashable(values[::2]), values[1::2], strict=True))
    return into


def hashable(keys: list[Any]) -> list[Any]:
    """Keys of plain data alone; no integers whose hashes collide."""
    for key in keys:
        kind = type(key)
        if kind is tuple:
            hashable(list(key))
        elif kind is int and not -(2**60) < key < 2**60:
            raise ValueError("a key that is too large a number")
        elif kind not in (str, bytes, bool, int, float, type(None)) and not isinstance(key, (np.generic, Named)):
            raise ValueError(f"a key of type {kind.__name__}")
    return keys
