"""HDF5 whose values are all in the file itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moga_st.errors import BadInput
from moga_st.storage.child import survives
from moga_st.storage.reading import check_size, open_file

# deflate, shuffle, fletcher32 and h5py's lzf: none of them makes more than _GROWTH bytes of one, and none is a plug-in,
# which HDF5 would load as code
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_GROWTH = 1_100
_SLACK = 64 * 2**20  # bytes that a data set may declare without having been written
_MOST, _DEEPEST = 2_000_000, 32  # links, and groups in groups: each is looked up from the top
_SURVIVED: set[tuple[int, int, int, int]] = set()  # files that have been looked at, by device, number, size and time


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file to read, in a ``with``: an h5py.File all of whose links and values have been looked at first.

    Refused are links to other places or files, external storage and virtual data sets, by which a file can have
    others read, filters that are plug-ins, groups nested without end, and data sets that declare far more than their
    bytes can hold.  What h5py raises inside the ``with`` for damage becomes a BadInput as well.

    Raises:
        BadInput: see :func:`moga_st.storage.open_file`; no HDF5, damaged, or one of those.
    """
    import h5py

    with open_file(path) as opened:
        about = os.fstat(opened.fileno())
    key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    if key not in _SURVIVED and not survives(lambda: _look(path)):
        raise BadInput(f"{path}: damaged: HDF5 itself crashes or hangs over it; restore a copy")
    _SURVIVED.add(key)
    try:
        file = h5py.File(path, "r")
    except Exception as error:  # h5py raises whatever it likes for damage
        raise BadInput(f"{path}: not an HDF5 file, or damaged ({_first_line(error)})") from error
    try:
        _check(file, path)
        yield file
    except BadInput as error:
        raise error if str(error).startswith(str(path)) else BadInput(f"{path}: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, StopIteration) as error:
        raise BadInput(f"{path}: damaged, or not as expected ({_first_line(error)})") from error
    finally:
        with contextlib.suppress(Exception):  # of a damaged file
            file.close()


def read_dataset(dataset: Any) -> np.ndarray:
    """All of a data set of plain numbers, if it is no larger than the limit.

    Raises:
        BadInput: it is, or it holds other things.
    """
    import h5py

    where = f"{dataset.file.filename}: {getattr(dataset, 'name', dataset)}"
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf" or dataset.shape is None:
        raise BadInput(f"{where}: expected an array of numbers")
    check_size(dataset.file.filename, str(dataset.name), int(dataset.nbytes))
    return np.asarray(dataset[()])


def attribute(item: Any, name: str, kind: type) -> Any:
    """An attribute of a group or data set as one ``kind``: str, int or float.

    Raises:
        BadInput: there is none, or it is something else.
    """
    value = item.attrs.get(name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        found = "there is none" if value is None else f"it is {value!r:.40}"
        raise BadInput(f"{item.file.filename}: attribute {name} of {item.name}: expected {kind.__name__}, {found}")
    return value


def _look(path: Path) -> None:
    """In the child: all attributes, and the ends of all data sets."""
    import h5py

    with h5py.File(path, "r") as file:
        _check(file, path)

        def look(_: str, item: Any) -> None:
            for name in list(item.attrs):
                with contextlib.suppress(Exception):
                    item.attrs[name]
            if isinstance(item, h5py.Dataset) and item.ndim and item.size:
                for end in (slice(0, 1), slice(-1, None)):
                    with contextlib.suppress(Exception):
                        item[end]

        look("", file)
        file.visititems(look)


def _check(file: Any, path: Path) -> None:
    """Look at every link and every data set."""
    import h5py

    low: Any = h5py  # whose types do not know its modules for HDF5's own functions

    links: list[tuple[bytes, int]] = []

    def note(name: bytes, info: Any) -> bool | None:
        links.append((bytes(name), info.type))
        stop = len(links) > _MOST or name.count(b"/") > _DEEPEST or info.type != low.h5l.TYPE_HARD
        return True if stop else None

    file.id.links.visit(note, info=True)
    for name, kind in links:
        shown = name.decode("utf-8", "replace")
        if name.count(b"/") > _DEEPEST:
            raise BadInput(f"{path}: holds groups nested more than {_DEEPEST} deep")
        if kind != low.h5l.TYPE_HARD:
            raise BadInput(f"{path}: {shown} is a link to another place or file; copy what it names into the file")
        item = low.h5o.open(file.id, name)
        if isinstance(item, h5py.h5d.DatasetID):
            _check_dataset(h5py.Dataset(item), item.get_create_plist(), f"{path}: {shown}")
    if len(links) > _MOST:
        raise BadInput(f"{path}: holds more than {_MOST:,} objects")


def _check_dataset(dataset: Any, made: Any, where: str) -> None:
    if made.get_external_count():
        raise BadInput(f"{where} is stored in other files; copy its values into the file")
    if dataset.is_virtual:
        raise BadInput(f"{where} is a virtual data set over other files; copy its values into the file")
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if unknown := [f for f in filters if f not in _FILTERS]:
        raise BadInput(f"{where} is packed with filter {unknown[0]}; pack it with {', '.join(_FILTERS.values())}")
    size, stored = int(dataset.nbytes), int(dataset.id.get_storage_size())
    growth = _GROWTH if filters else 1
    if size > stored * growth + _SLACK:
        raise BadInput(f"{where} declares {size:,} bytes and holds {stored:,}; do not trust this file")
    if dataset.chunks is not None:
        check_size(
            where, "one chunk", int(np.prod([int(n) for n in dataset.chunks], dtype=object)) * dataset.dtype.itemsize
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
