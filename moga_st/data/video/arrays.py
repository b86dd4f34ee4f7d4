"""Clips that are arrays: .npy, .npz, HDF5, NetCDF and Zarr, with variables and dimensions by name.

Frames are read from the file when they are asked for, except those of a compressed .npz.

Shape legend: ``t`` frames, ``h w`` size, ``c`` channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from moga_st import storage
from moga_st.data.video.clip import Clip, check_size
from moga_st.errors import BadInput, nearest

MOST_CHANNELS = 128
TIMES = ("time", "t", "frame", "frames", "valid_time", "date", "step", "ensemble_step")

Read = Callable[[int, int], np.ndarray]  # frames first to stop - 1: (t, h, w, c)


@dataclass
class ArrayClip(Clip):
    """Frames of an array: uint8 as they are; 16-bit integers / 65535; other numbers as float32."""

    frames_of: Read = lambda first, stop: np.zeros((stop - first, 0, 0, 0))

    def read(self, first: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        stop = self.frames if stop is None else min(stop, self.frames)
        each = max(1, (8 << 20) // (4 * self.size_px[0] * self.size_px[1] * len(self.channels)))
        for start in range(first, stop, each):
            try:
                block = self.frames_of(start, min(start + each, stop))
            except Exception as error:  # h5py, xarray and their engines raise whatever they like
                raise BadInput(f"{self.path}: damaged near frame {start} ({_short(error)}); fetch it again") from error
            yield from _as_frames(block)


def _as_frames(block: np.ndarray) -> np.ndarray:
    if block.dtype == np.uint8:
        return np.array(block)  # no view of the file, which could not be written to
    if block.dtype == bool:
        return block.astype(np.uint8) * 255
    if block.dtype == np.uint16:
        return block.astype(np.float32) / 65535
    return block.astype(np.float32)


def open_npy(path: Path, channels: int | None = None) -> Clip:
    """A .npy file of (t, h, w), (t, c, h, w) or (t, h, w, c).

    Args:
        path: the file.
        channels: how many there have to be; where two dimensions could be the channels, the one of this length is.

    Raises:
        BadInput: it cannot be read, or holds something else.
    """
    array = storage.open_npy(path)
    return _of_array(path, array, channels)


def open_npz(path: Path, variables: Sequence[str] = (), channels: int | None = None) -> Clip:
    """One array of a .npz file; ``variables`` names it where there are several.

    Raises:
        BadInput: it cannot be read, the array is too large, or which one is meant is not clear.
    """
    with storage.open_npz(path) as file:
        array = file.array(_one_of(path, "array", file.names, variables))
    return _of_array(path, array, channels)


def open_hdf5(path: Path, variables: Sequence[str] = (), channels: int | None = None) -> Clip:
    """One data set of an HDF5 file, by its name where there are several.

    Raises:
        BadInput: it cannot be read, or which data set is meant is not clear.
    """
    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "buif":
            names.append(name)

    with storage.open_hdf5(path) as file:  # which looks at all of it first
        file.visititems(note)
        name = _one_of(path, "data set", names, [v.strip("/") for v in variables])
    return _of_array(path, h5py.File(path, "r")[name], channels)


def _of_array(path: Path, array: Any, channels: int | None) -> Clip:
    """A clip of anything with a shape, a dtype, and frames by slices."""
    if array.dtype.kind not in "buif" or (array.dtype.kind in "ui" and array.dtype not in (np.uint8, np.uint16)):
        raise BadInput(f"{path}: expected uint8, uint16 or floats, got {array.dtype}; store it as one of those")
    shape = array.shape
    if len(shape) not in (3, 4) or 0 in shape:
        raise BadInput(f"{path}: expected one clip of shape (t, h, w), (t, c, h, w) or (t, h, w, c), got {shape}")
    axis = None if len(shape) == 3 else _channel_axis(path, shape, channels)
    count = 1 if axis is None else shape[axis]
    h, w = [n for i, n in enumerate(shape) if i not in (0, axis)]
    check_size(path, w, h)
    storage.check_size(path, "one frame", 8 * h * w * count)

    def read(first: int, stop: int) -> np.ndarray:
        block = np.asarray(array[first:stop])
        return block[..., None] if axis is None else np.moveaxis(block, axis, 3)

    return ArrayClip(path, (w, h), _names(count), shape[0], None, frames_of=read)


def _channel_axis(path: Path, shape: tuple[int, ...], channels: int | None) -> int:
    fits = [a for a in (3, 1) if shape[a] == channels]
    if len(fits) == 1:
        return fits[0]
    axis = 1 if shape[1] < shape[3] else 3
    if shape[axis] > MOST_CHANNELS:
        raise BadInput(f"{path}: neither dimension 1 nor 3 of {shape} can be channels; expected (t, c, h, w)")
    return axis


def _names(count: int) -> tuple[str, ...]:
    return {1: ("grey",), 3: ("red", "green", "blue")}.get(count, tuple(f"channel {i}" for i in range(count)))


def _one_of(path: Path, what: str, names: list[str], wanted: Sequence[str]) -> str:
    if len(wanted) > 1:
        raise BadInput(f"{path}: name one {what}, got {', '.join(wanted)}")
    if wanted:
        if wanted[0] not in names:
            raise BadInput(f"{path}: has no {what} {wanted[0]!r}{nearest(wanted[0], names)}; it has {_few(names)}")
        return wanted[0]
    if len(names) != 1:
        raise BadInput(f"{path}: holds {len(names)} {what}s that could be a clip ({_few(names)}); name one as variable")
    return names[0]


def _few(names: Sequence[str]) -> str:
    return (", ".join(names[:12]) + (", ..." if len(names) > 12 else "")) or "none"


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


# --- NetCDF and Zarr ---


def open_grid(path: Path, variables: Sequence[str] = (), dimensions: Sequence[str] = ()) -> Clip:
    """Variables of a NetCDF file or a Zarr store as channels.

    A variable has dimensions of time, y and x, and may have others, such as levels, each of whose values becomes a
    channel. Times are read from the time's coordinate.

    Args:
        path: the file or store.
        variables: names, in the order of the channels; left out, all that have the dimensions of the largest.
        dimensions: names of time, y and x; left out, the dimension of dates or with a usual name (else the first), and
            the last two others.

    Raises:
        BadInput: it cannot be read, xarray is not installed, or a name is not there.
    """
    data = storage.open_grid(path)
    try:
        return _of_grid(path, data, variables, dimensions)
    except BadInput:
        raise
    except Exception as error:  # xarray and its engines raise whatever they like, here for coordinates
        raise BadInput(f"{path}: cannot be read as NetCDF or Zarr ({_short(error)}); fetch it again") from error


def _of_grid(path: Path, data: Any, variables: Sequence[str], dimensions: Sequence[str]) -> Clip:
    for name in variables:
        if name not in data:
            raise BadInput(
                f"{path}: has no variable {name!r}{nearest(name, list(data))}; it has {_few(sorted(map(str, data)))}"
            )
    fitting = [n for n in data.data_vars if data[n].ndim >= 3 and data[n].dtype.kind in "buif"]
    if not variables and fitting:
        largest = max(fitting, key=lambda n: data[n].size)
        variables = [n for n in fitting if set(data[n].dims) == set(data[largest].dims)]
    if not variables:
        raise BadInput(f"{path}: no variable has three dimensions or more; it has {_few(sorted(map(str, data)))}")
    time, y, x = _grid(path, data, list(variables), dimensions)
    ordered = [data[n].transpose(time, y, x, ...) for n in variables]
    channels, units = [], []
    for name, array in zip(variables, ordered, strict=True):
        units.append(str(array.attrs.get("units", "")))
        more = [
            range(n) if d not in array.coords else array[d].values
            for d, n in zip(array.dims[3:], array.shape[3:], strict=True)
        ]
        for value in np.ndindex(*map(len, more)):
            label = [f"{d}={m[i]}" for d, m, i in zip(array.dims[3:], more, value, strict=True)]
            channels.append(" ".join([name, *label]))
    if len(channels) > MOST_CHANNELS:
        raise BadInput(f"{path}: {len(channels)} channels, at most {MOST_CHANNELS}; name fewer variables")
    h, w = ordered[0].shape[1:3]
    check_size(path, w, h)
    storage.check_size(path, "one frame", 8 * h * w * len(channels))

    def read(first: int, stop: int) -> np.ndarray:
        blocks = [np.asarray(a[first:stop].values) for a in ordered]
        return np.concatenate([b.reshape(*b.shape[:3], -1) for b in blocks], -1, dtype=np.float32)

    unit = units[0] if len(set(units)) == 1 else ""
    dates = _dates(data[time].values) if time in data.coords else None
    return ArrayClip(path, (w, h), tuple(channels), ordered[0].shape[0], _rate(dates), unit, dates, frames_of=read)


def _grid(path: Path, data: Any, variables: list[str], given: Sequence[str]) -> tuple[str, str, str]:
    """Names of the dimensions of time, y and x."""
    dims = [str(d) for d in data[variables[0]].dims]
    if given and len(given) != 3:
        raise BadInput(f"{path}: name three dimensions (time, y, x), got {', '.join(given)}")
    for name in given:
        if name not in dims:
            raise BadInput(
                f"{path}: {variables[0]} has no dimension {name!r}{nearest(name, dims)}; it has {_few(dims)}"
            )
    if not given:
        dates = [d for d in dims if d in data.coords and data[d].dtype.kind in "MmO"]
        named = [d for d in dims if d.lower() in TIMES]
        time = (dates or named or dims)[0]
        given = [time, *[d for d in dims if d != time][-2:]]
    time, y, x = given
    for name in variables:
        missing = [d for d in given if d not in data[name].dims]
        if missing:
            raise BadInput(f"{path}: {name} has no dimension {missing[0]!r}; name variables that share time, y and x")
    return time, y, x


def _dates(times: np.ndarray) -> np.ndarray | None:
    """Dates as seconds since 1970-01-01 UTC, float64: numpy's, or cftime's of other calendars, whose year, month, day
    and time of day are kept; the days that only they have become the month's last.  None for what are no dates."""
    if times.dtype.kind == "M":
        return None if np.isnat(times).any() else times.astype("datetime64[ns]").astype(np.int64) / 1e9
    if times.dtype != object or not all(hasattr(t, "dayofyr") for t in times):
        return None
    month = np.array([f"{t.year:04d}-{t.month:02d}" for t in times], "datetime64[M]")
    last = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    day = month.astype("datetime64[D]").astype(np.int64) + np.minimum([t.day for t in times], last) - 1
    return day * 86_400.0 + [t.hour * 3600 + t.minute * 60 + t.second + t.microsecond / 1e6 for t in times]


def _rate(dates: np.ndarray | None) -> float | None:
    """Frames a second of evenly spaced dates (months count as even), else None."""
    if dates is None or len(dates) < 2:
        return None
    steps = np.diff(dates)
    mean = float(steps.mean())
    return 1 / mean if math.isfinite(mean) and mean > 0 and np.abs(steps - mean).max() <= 0.15 * mean else None
