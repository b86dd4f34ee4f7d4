"""Bytes, text and JSON of files that anybody may have made."""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import json
import math
import os
import re
import stat
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from moga_st.errors import BadInput

_TURN = threading.Lock()
_LIMIT = "MOGA_ST_MAX_GB"
_UNPACKED_FREE = 2**28  # bytes that anything may unpack to
_UNPACKED_MOST = 200  # times its bytes; what is nearly all zeros, as maps of rain are, reaches a hundred
JSON_GROWTH = 20  # times its bytes that JSON can take as Python objects
_SUSPECT = re.compile(rb"\d{19}|[eE]\+?\d{3}|NaN|Infinity")  # numbers that need a second look


def max_bytes() -> int:
    """What one file may take of the memory: ``MOGA_ST_MAX_GB``, by default half of what the machine has.

    Raises:
        BadInput: the variable is no positive number.
    """
    given = os.environ.get(_LIMIT)
    if given is None:
        return _memory() // 2
    try:
        limit = float(given)
    except ValueError:
        limit = math.nan
    if not 0 < limit < 1e9:
        raise BadInput(f"{_LIMIT}={given!r}: expected a positive number of gigabytes")
    return int(limit * 1e9)


def check_size(path: Path | str, what: str, size: int) -> None:
    """Refuse what would take more memory than :func:`max_bytes`.

    Raises:
        BadInput: it would.
    """
    if size > max_bytes():
        raise BadInput(
            f"{path}: {what} would take {size / 1e9:,.1f} GB, the limit is {max_bytes() / 1e9:,.1f} GB; if you trust "
            f"it, raise the limit with {_LIMIT}"
        )


def check_unpacked(path: Path | str, what: str, packed: int, unpacked: int) -> None:
    """Refuse what takes far more memory than it has bytes, as bombs do, unless the limit was set by hand.

    Raises:
        BadInput: it does, or it would take more than :func:`max_bytes`.
    """
    check_size(path, what, unpacked)
    if unpacked > max(_UNPACKED_FREE, _UNPACKED_MOST * packed) and _LIMIT not in os.environ:
        raise BadInput(
            f"{path}: {what} would unpack from {packed / 1e6:,.1f} MB to {unpacked / 1e9:,.1f} GB; if you trust it, "
            f"set the limit with {_LIMIT}"
        )


def open_file(path: Path) -> BinaryIO:
    """Open an ordinary file to read: no folder, device, pipe or socket, which could block or never end.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    try:
        _check_ordinary(path, path.stat().st_mode)
        # between the two looks a pipe may have come in its place, which must not block
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = os.fdopen(number, "rb")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a name with a null byte
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: cannot be the name of a file") from error
    try:
        _check_ordinary(path, os.fstat(number).st_mode)
    except BadInput:
        file.close()
        raise
    return file


def file_size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a file of at most ``most`` bytes, by default :func:`max_bytes`.

    Raises:
        BadInput: see :func:`open_file`; or it is larger.
    """
    with open_file(path) as file:
        size = file_size(file)
        if most is not None and size > most:
            raise BadInput(f"{path}: has {size:,} bytes, expected at most {most:,}")
        check_size(path, "the file", size)
        try:
            return file.read(size)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file, by which its format can be told.

    Raises:
        BadInput: see :func:`open_file`.
    """
    with open_file(path) as file:
        try:
            return file.read(count)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex, read a piece at a time.

    Raises:
        BadInput: see :func:`open_file`.
    """
    digest = hashlib.sha256()
    with open_file(path) as file:
        try:
            while piece := file.read(2**20):
                digest.update(piece)
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def read_text(path: Path, errors: str = "strict", most: int = 2**30) -> str:
    """A text file, UTF-8 with or without a byte order mark.

    Args:
        errors: "strict", or "replace" where names in old code pages do no harm.
        most: bytes.

    Raises:
        BadInput: see :func:`read_bytes`; or it is not UTF-8.
    """
    return _decode(read_bytes(path, most), path, errors)


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV file whose first line names its columns; what a row lacks is empty.

    Raises:
        BadInput: see :func:`read_text`; no CSV, or it lacks one of ``columns``.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
    try:
        if missing := [c for c in columns if c not in (rows.fieldnames or ())]:
            raise BadInput(f"{path}: has no column {', '.join(missing)}; expected {', '.join(columns)}")
        return [(rows.line_num, {c: row[c] for c in columns}) for row in rows]
    except csv.Error as error:
        raise BadInput(f"{path}: line {rows.line_num}: {error}; expected a table in CSV") from error


def read_json(path: Path, nan: bool = False) -> Any:
    """A JSON file; see :func:`parse_json`."""
    return parse_json(read_bytes(path, max_bytes() // JSON_GROWTH), path, nan)


def parse_json(content: bytes, source: Path | str, nan: bool = False) -> Any:
    """JSON as its standard has it, within bounds: every number is finite, and every integer fits into 64 bits.

    Args:
        source: what messages name.
        nan: take NaN, which Python writes although JSON has none; infinities are refused all the same.

    Raises:
        BadInput: it is not so, nested too deeply, or no UTF-8.
    """
    text = _decode(content, source, "strict")
    hooks: dict[str, Any] = {}
    if _SUSPECT.search(content):  # looking at every number would take several times as long
        hooks = {"parse_int": _integer, "parse_float": _float, "parse_constant": _nan if nan else _constant}
    try:
        return json.loads(text, **hooks)
    except RecursionError as error:
        raise BadInput(f"{source}: nested too deeply for JSON that anything here could use") from error
    except (ValueError, MemoryError) as error:
        raise BadInput(f"{source}: cannot be read as JSON ({error})") from error


def unpack_gzip(raw: bytes, source: Path | str, most: int | None = None) -> bytes:
    """What gzip has packed, at most ``most`` bytes of it, by default :func:`max_bytes`.

    Raises:
        BadInput: it is damaged, cut short, or unpacks to more.
    """
    limit = min(max_bytes(), most) if most is not None else max_bytes()
    out = bytearray()
    try:
        while raw:
            unpacker = zlib.decompressobj(wbits=31)
            out += unpacker.decompress(raw, limit + 1 - len(out))
            if len(out) > limit:
                raise BadInput(f"{source}: unpacks to more than {limit:,} bytes")
            if not unpacker.eof:
                raise BadInput(f"{source}: ends before its gzip stream does; fetch it again")
            raw = unpacker.unused_data.lstrip(b"\0")  # another member may follow
    except zlib.error as error:
        raise BadInput(f"{source}: damaged gzip ({error}); fetch it again") from error
    return bytes(out)


def escape(text: object, lines: bool = False) -> str:
    """``text`` for a terminal: what moves the cursor, changes colours or the direction of writing is spelt out.

    File names, keys and metadata come from strangers: print them through this.

    Args:
        lines: leave newlines and tabs as they are, for text that is meant to have several lines.
    """
    text = str(text)
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _spelt(c) for c in text)


def read_at(number: int, into: memoryview, offset: int) -> int:
    """Fill ``into`` from a place in the open file ``number``; returns how many bytes came, none at its end.

    Threads may ask for different places at the same time.
    """
    if hasattr(os, "preadv"):
        return os.preadv(number, [into], offset)
    with _TURN:  # Windows has no such call, and a file has one place where it is read
        os.lseek(number, offset, os.SEEK_SET)
        got = os.read(number, len(into))
    into[: len(got)] = got
    return len(got)


def _spelt(character: str) -> str:
    return repr(character)[1:-1]


@functools.cache
def _memory() -> int:
    """Bytes of memory of the machine, or of the part of it that a container may use."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        total = 8 * 2**30
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def _check_ordinary(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise BadInput(f"{path}: is a folder, expected a file")
    if not stat.S_ISREG(mode):
        raise BadInput(f"{path}: is a device, pipe or socket, expected an ordinary file")


def _decode(content: bytes, source: Path | str, errors: str) -> str:
    try:
        return content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise BadInput(f"{source}: is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from error


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the number {digits:.24}... does not fit into 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits:.24} is infinite")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _nan(name: str) -> float:
    if name != "NaN":
        raise ValueError(f"{name} is no JSON")
    return math.nan
