"""numpy's files: .npy and .npz, with plain numbers and strings in them, never Python objects."""

from __future__ import annotations

import ast
import io
import math
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from moga_st.errors import BadInput
from moga_st.storage.reading import check_size, check_unpacked, file_size, open_file

_PLAIN = re.compile(r"([<>=|]?)(?:(\?|b1|[iu][1248]|f[248])|([SU])(\d{1,7}))")
_OBJECT = re.compile(r"\|?O\d?")
_HEADER_MOST = 65_536  # bytes; numpy itself stops at 10,000 characters
_MAGIC = b"\x93NUMPY"
_DEFLATE = 1_100  # times its bytes that deflate can unpack to, and a little
_DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile)


def plain_dtype(code: Any) -> np.dtype:
    """The dtype of a code for booleans, integers, floats or strings; no other, since those can hold pointers, offsets
    or subarrays.

    Raises:
        ValueError: another code.
    """
    found = _PLAIN.fullmatch(code) if isinstance(code, str) else None
    if found is None or found[4] == "0":
        raise ValueError(f"its values are of type {code!r:.60}, expected booleans, integers, floats or strings")
    return np.dtype(code)


def build_array(dtype: np.dtype, shape: Any, data: bytes | bytearray | memoryview, fortran: bool = False) -> np.ndarray:
    """An array over ``data``, whose length is held against the shape; nothing is copied but booleans.

    Raises:
        ValueError: the shape is none, or the bytes are fewer or more.
    """
    size = check_shape(shape) * dtype.itemsize
    if len(data) != size:
        raise ValueError(f"shape {shape} of {dtype} needs {size:,} bytes, there are {len(data):,}")
    # bytes other than 0 and 1 are no booleans
    array = np.frombuffer(data, np.uint8) != 0 if dtype.kind == "b" else np.frombuffer(data, dtype)
    if dtype.kind == "U" and size:
        order = dtype.newbyteorder("=").byteorder if dtype.byteorder == "=" else dtype.byteorder
        if np.frombuffer(data, np.dtype(f"{order}u4")).max() > 0x10FFFF:
            raise ValueError("its strings hold numbers that are no characters")
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def check_shape(shape: Any) -> int:
    """The number of elements of ``shape``.

    Raises:
        ValueError: it is no tuple of whole numbers, or no array can have it.
    """
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(shape) > 32 or math.prod(max(n, 1) for n in shape) >= 2**60:
        raise ValueError(f"its shape {shape!r:.60} is none that an array can have")
    return math.prod(shape)


class Header(NamedTuple):
    """What a .npy file declares; ``dtype`` is None for Python objects."""

    dtype: np.dtype | None
    shape: tuple[int, ...]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return check_shape(self.shape) * (self.dtype.itemsize if self.dtype is not None else 0)


def read_header(file: Any) -> Header:
    """Read the header of a .npy file and leave ``file`` where its values begin.

    Raises:
        ValueError: it is none.
    """
    start = file.read(8)
    if len(start) < 8 or start[:6] != _MAGIC:
        raise ValueError("has no .npy header")
    if start[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise ValueError(f"is of version {start[6]}.{start[7]} of the .npy format")
    field = file.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(field, "little")
    text = file.read(min(length, _HEADER_MOST + 1))
    if length > _HEADER_MOST or len(text) < length:
        raise ValueError("has a .npy header that is cut short or too long")
    try:
        # Python 2 wrote its long integers with an L
        about = ast.literal_eval(
            re.sub(r"(\d)L\b", r"\1", text.decode("utf-8" if start[6] == 3 else "latin-1").strip())
        )
        code, fortran, shape = about["descr"], about["fortran_order"], about["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("has a .npy header that cannot be read") from error
    if len(about) != 3 or type(fortran) is not bool:
        raise ValueError("has a .npy header that cannot be read")
    check_shape(shape)
    is_object = isinstance(code, str) and _OBJECT.fullmatch(code) is not None
    return Header(None if is_object else plain_dtype(code), shape, fortran)


def read_npy(path: Path) -> np.ndarray:
    """The array in a .npy file.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; no .npy file, damaged, larger than its bytes or the limit, or
            of Python objects.
    """
    with open_file(path) as file:
        return _read(file, path, file_size(file))


def parse_npy(content: bytes, source: Path | str) -> np.ndarray:
    """The array in the bytes of a .npy file; see :func:`read_npy`."""
    return _read(io.BytesIO(content), source, len(content))


def open_npy(path: Path) -> np.memmap:
    """The numbers in a .npy file, read where they are used: for files larger than memory.

    Raises:
        BadInput: see :func:`read_npy`.
    """
    with open_file(path) as file:
        header, dtype = _plain_header(file, path)
        if file_size(file) - file.tell() < header.nbytes:
            raise BadInput(_cut_short(path, header, file_size(file) - file.tell()))
        if dtype.kind not in "biuf":
            raise BadInput(f"{path}: holds {dtype}, expected numbers")
        if not header.nbytes:
            raise BadInput(f"{path}: holds an array of shape {header.shape}, which is empty")
        order = "F" if header.fortran else "C"
        return np.memmap(file, dtype, mode="r", offset=file.tell(), shape=header.shape, order=order)


def read_npz(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the arrays named that a .npz file has; the others in it are not looked at.

    Raises:
        BadInput: see :func:`open_npz` and :meth:`Npz.array`.
    """
    with open_npz(path) as file:
        return {name: file.array(name) for name in names if name in file}


def open_npz(path: Path) -> Npz:
    """Open a .npz file, in a ``with``; no array is read yet.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; or no .npz file, or damaged.
    """
    file = open_file(path)
    try:
        return Npz(path, zipfile.ZipFile(file), file)
    except Exception as error:
        file.close()
        raise BadInput(f"{path}: cannot be read as .npz ({error}); fetch it again") from error


class Npz:
    """An open .npz file: names, and arrays read one at a time.

    Raises:
        BadInput: from every method: the array is not there, damaged, encrypted or packed in an unusual way, larger
            than its bytes or the limit, or of Python objects.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, file: BinaryIO):
        self.path, self._archive, self._file = path, archive, file
        self._entries = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._archive.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def header(self, name: str) -> Header:
        """What an array declares, without reading it."""
        with self._open(name) as entry:
            return self._checked(name, read_header, entry)

    def array(self, name: str) -> np.ndarray:
        """An array of plain values."""
        with self._open(name) as entry:
            header: Header = self._checked(name, read_header, entry)
            if header.dtype is None:
                raise BadInput(f"{self.path}: {name} holds Python objects, expected plain numbers")
            check_size(self.path, name, header.nbytes)
            declared = self._entries[name].file_size
            if header.nbytes > declared:
                raise BadInput(_cut_short(f"{self.path}: {name}", header, declared))
            content = self._checked(name, read_entry, entry, header.nbytes)
        return self._checked(name, build_array, header.dtype, header.shape, content, header.fortran)

    def value(self, name: str) -> Any:
        """An array, or what a pickle of plain data in its place holds (see :func:`moga_st.storage.read_pickle`)."""
        if self.header(name).dtype is not None:
            return self.array(name)
        from moga_st.storage.pickles import load_pickle

        with self._open(name) as entry:
            self._checked(name, read_header, entry)
            content = self._checked(name, entry.read)
        return load_pickle(io.BytesIO(content), len(content), f"{self.path}: {name}")

    def _open(self, name: str) -> zipfile.ZipExtFile:
        info = self._entries.get(name)
        if info is None:
            raise BadInput(f"{self.path}: has no array {name!r}; it has {', '.join(self.names[:20]) or 'none'}")
        check_entry(info, self.path)
        return self._checked(name, self._archive.open, info)

    def _checked(self, name: str, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except BadInput:
            raise
        except Exception as error:  # zipfile and zlib raise whatever they like
            raise BadInput(f"{self.path}: {name} cannot be read ({error}); fetch it again") from error


def check_entry(info: zipfile.ZipInfo, path: Path | str) -> None:
    """Refuse an entry of a zip file that is encrypted, packed in an unusual way, or a bomb.

    Raises:
        BadInput: it is.
    """
    if info.flag_bits & 0x1:
        raise BadInput(f"{path}: {info.filename} is encrypted; unpack it first")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput(f"{path}: {info.filename} is packed with a method other than deflate; save it with np.savez")
    if info.file_size > info.compress_size * _DEFLATE + 1_000:
        raise BadInput(f"{path}: {info.filename} says it is larger than its bytes can be; do not trust this file")
    check_unpacked(path, info.filename, info.compress_size, info.file_size)


def read_entry(file: Any, size: int) -> bytearray:
    """The next ``size`` bytes, and the last, of an open entry of a zip file, without a second copy of them.

    Raises:
        ValueError: there are fewer or more.
    """
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = file.readinto(view[done : done + 2**20])
        if not count:
            raise ValueError(f"it is cut short: {done:,} bytes of {size:,}")
        done += count
    if file.read(1):
        raise ValueError(f"it has more than {size:,} bytes")
    return data


def _read(file: Any, source: Path | str, size: int) -> np.ndarray:
    header, dtype = _plain_header(file, source)
    there = size - file.tell()
    if there < header.nbytes:
        raise BadInput(_cut_short(source, header, there))
    check_size(source, "the array", header.nbytes)
    try:
        return build_array(dtype, header.shape, file.read(header.nbytes), header.fortran)
    except _DAMAGED as error:
        raise BadInput(f"{source}: cannot be read as .npy ({error})") from error


def _plain_header(file: Any, source: Path | str) -> tuple[Header, np.dtype]:
    try:
        header = read_header(file)
    except _DAMAGED as error:
        raise BadInput(f"{source}: cannot be read as .npy: it {error}") from error
    if header.dtype is None:
        raise BadInput(f"{source}: holds Python objects, expected plain numbers")
    return header, header.dtype


def _cut_short(source: Path | str, header: Header, there: int) -> str:
    return (
        f"{source}: cut short: an array of shape {header.shape} and {header.dtype} needs {header.nbytes:,} bytes, "
        f"{there:,} are there"
    )
