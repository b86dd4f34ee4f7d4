"""The prepared clips file: one HDF5 file of video data, whatever the source was.

Layout::

    /                    attributes: format "moga_st clips", version 1, source, licence, channels (names), unit (of a
                         value; "" for frames in [0, 1]), fps (NaN where unknown), mean, std (one a channel, of the
                         training part), standardise (whether networks see (value - mean) / std), conventions (JSON),
                         fingerprint
    /train, /val, /test
        frames           (n, h, w, c) uint8, whose values are the numbers / 255, or float32: all clips' frames, one
                         clip after the other; not compressed, so that any window is one short read
        first            (clips + 1,) int64: where clips begin; the last one is n
        name             (clips,) str
        start            (windows,) int64, only where the data set's protocol lists its windows: their first frames
        time_s           (n,) float64, only where dates are known: seconds since 1970-01-01 00:00 UTC

Shape legend: ``n`` frames, ``t`` frames of a window, ``h w`` size, ``c`` channels, ``b`` windows.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from tqdm import tqdm

from moga_st import storage
from moga_st.data.video.moments import Moments
from moga_st.errors import BadInput
from moga_st.storage import escape, new_file

FORMAT, VERSION = "moga_st clips", 1
AGAIN = "prepare it again with `moga-st data prepare`"
SPLITS = ("train", "val", "test")
BLOCK = 4 << 20  # bytes of frames written at once, about
CHUNK = 64 << 10  # bytes of a chunk of the file, at least one frame

Split = Literal["train", "val", "test"]


def check_space(
    path: Path, frames: int, shape: tuple[int, int, int], value_bytes: int = 1, say: Callable[[str], None] | None = None
) -> int:
    """Say how large a prepared file will be, before the work is done, and stop where the disk has less space.

    Args:
        path: the file that will be written.
        frames: how many it will have, at most.
        shape: of a frame: (h, w, c).
        value_bytes: of a value: 1 for uint8, 4 for float32.
        say: gets the line; left out, it goes to stderr.

    Returns:
        ``frames``, for :func:`write_clips`.

    Raises:
        OSError: less space on the disk than needed.
    """
    need = frames * math.prod(shape) * value_bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    line = f"{path}: {frames:,} frames of {shape[0]}x{shape[1]}, {shape[2]} channels, {need / 1e6:,.1f} MB; "
    (say or _to_stderr)(f"{line}{free / 1e6:,.0f} MB are free")
    if need * 1.02 + 1e6 > free:
        short = f"{need / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free; take smaller frames or fewer"
        raise OSError(errno.ENOSPC, short, str(path))
    return frames


def _to_stderr(line: str) -> None:
    print(escape(line), file=sys.stderr)


@contextmanager
def write_clips(
    path: Path,
    source: str,
    licence: str,
    channels: Sequence[str],
    *,
    unit: str = "",
    fps: float | None = None,
    standardise: bool | None = None,
    conventions: Mapping[str, str] | None = None,
    frames: int | None = None,
) -> Iterator[PreparedClipsWriter]:
    """Write a prepared file, with a progress bar on stderr: what the writer was given is at ``path``, complete, when
    the ``with`` is left without an error; else ``path`` is as it was.  The same clips give the same fingerprint.

    Args:
        path: the file.
        source: what it was made of, for people.
        licence: of the source, as its makers name it.
        channels: names of the channels: grey; red, green, blue; u, v.
        unit: of a value, such as m/s; empty for frames in [0, 1].
        fps: frames a second, where they are evenly spaced in time and it is known.
        standardise: whether networks see (value - mean) / std of the training part; None does it for float32 only.
        conventions: what users of the data set must know, by name.
        frames: how many will come, about, for the progress bar; unknown if left out.

    Raises:
        BadInput: no training clips at the end.
        OSError: it could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(
            format=FORMAT,
            version=VERSION,
            source=source,
            licence=licence,
            channels=list(channels),
            unit=unit,
            fps=math.nan if fps is None else float(fps),
            conventions=json.dumps(dict(conventions or {})),
        )
        with tqdm(desc=escape(path.name), total=frames, unit="frame", leave=False) as bar:
            writer = PreparedClipsWriter(file, tuple(channels), bar)
            yield writer
        writer.finish(source, standardise)


@dataclass
class _Part:
    """One split while it is written."""

    first: list[int] = field(default_factory=lambda: [0])
    name: list[str] = field(default_factory=list)
    start: list[int] | None = None
    time_s: list[np.ndarray] | None = None


class PreparedClipsWriter:
    """Takes clips one at a time; made by :func:`write_clips`."""

    def __init__(self, file: Any, channels: tuple[str, ...], bar: tqdm):
        self._file, self._channels, self._bar = file, channels, bar
        self._parts = {split: _Part() for split in SPLITS}
        self._names: set[str] = set()
        self._kind: tuple[tuple[int, ...], np.dtype] | None = None  # of every frame: (h, w, c), and its type
        self._digest = hashlib.sha256()
        self._training = Moments(len(channels))

    def add_clip(
        self,
        split: Split,
        name: str,
        frames: Iterable[np.ndarray],
        *,
        starts: Sequence[int] | None = None,
        time_s: Sequence[float] | np.ndarray | None = None,
    ) -> int:
        """Append a clip, a few frames in memory at a time.

        If ``frames`` raises, nothing of the clip stays, and the writer can go on with the next.

        Args:
            split: where it belongs.
            name: its own.
            frames: (h, w, c), or (h, w) for one channel; uint8, or floats, which are stored as float32.
            starts: first frames of its windows, counted from the clip's beginning, where the protocol lists them; a
                split has them for all of its clips or for none.
            time_s: date of each frame, seconds since 1970-01-01 00:00 UTC.

        Returns:
            How many frames it has.

        Raises:
            BadInput: no frames, a name that came before, frames of another size or type than those before, values
                that are not finite, or as many times as fit no frames; the message names the clip and the frame.
        """
        self._check_next(split, name, starts is None, time_s is None)
        part, before = self._parts[split], self._parts[split].first[-1]
        moments, digest = Moments(len(self._channels)), hashlib.sha256(f"{split}/{name}".encode())
        n = before
        try:
            for block in self._blocks(name, frames):
                data = self._dataset(split)
                data.resize(n + len(block), 0)
                data[n:] = block
                n += len(block)
                digest.update(np.ascontiguousarray(block).data)  # frames may lie in memory in any order
                if split == "train":
                    moments.add(block)
            count = n - before
            times = None if time_s is None else np.asarray(time_s, np.float64)
            _check_count(name, count, times, starts)
        except BaseException:
            self._undo(split, before)
            raise
        self._names.add(name)
        part.name.append(name)
        part.first.append(n)
        if starts is not None:
            part.start = [*(part.start or ()), *(before + s for s in starts)]
            digest.update(np.asarray(part.start, np.int64).data)
        if times is not None:
            part.time_s = [*(part.time_s or ()), times]
        self._training.merge(moments)
        self._digest.update(digest.digest())
        return count

    def _check_next(self, split: Split, name: str, no_starts: bool, no_times: bool) -> None:
        """Refuse a clip that does not go with those before it."""
        part = self._parts[split]
        if name in self._names:
            raise BadInput(f"clip {name}: comes twice; every clip needs a name of its own")
        if part.name and (part.start is None) != no_starts:
            raise BadInput(f"clip {name}: the clips of {split} list their windows' starts either all or none")
        if part.name and (part.time_s is None) != no_times:
            raise BadInput(f"clip {name}: the clips of {split} have times either all or none")

    def finish(self, source: str, standardise: bool | None) -> None:
        """Write what is known only at the end; called by :func:`write_clips`."""
        if not self._parts["train"].name or self._kind is None:
            raise BadInput(f"{source}: no clips for training")
        is_float = self._kind[1] == np.float32
        mean, std = self._training.mean_std()
        if not is_float:
            mean, std = mean / 255, std / 255
        self._file.attrs.update(
            mean=mean,
            std=std,
            standardise=is_float if standardise is None else standardise,
            fingerprint=self._digest.hexdigest()[:16],
        )
        for split, part in self._parts.items():
            group, n = self._dataset(split).parent, part.first[-1]
            group["first"] = np.asarray(part.first, np.int64)
            group.create_dataset("name", data=part.name, shape=(len(part.name),), dtype=h5py.string_dtype())
            if part.start is not None:
                group["start"] = np.asarray(part.start, np.int64)
            if part.time_s is not None:
                group["time_s"] = np.concatenate(part.time_s)
                assert len(group["time_s"]) == n

    def _undo(self, split: str, before: int) -> None:
        """Back to ``before`` frames in a split."""
        if not self._names:  # then nothing says of what size and type frames have to be
            self._kind = None
            self._file.pop(split, None)
        elif f"{split}/frames" in self._file:
            self._dataset(split).resize(before, 0)

    def _dataset(self, split: str) -> Any:
        assert self._kind is not None
        group = self._file.require_group(split)
        if "frames" not in group:
            shape, dtype = self._kind
            each = max(1, CHUNK // (math.prod(shape) * dtype.itemsize))
            group.create_dataset(
                "frames", (0, *shape), dtype, maxshape=(None, *shape), chunks=(each, *shape), track_times=False
            )
        return group["frames"]

    def _blocks(self, name: str, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Checked frames (k, h, w, c), some megabytes at a time."""
        waiting: list[np.ndarray] = []
        for i, frame in enumerate(frames):
            waiting.append(self._checked(f"clip {name}: frame {i}", np.asarray(frame)))
            self._bar.update()
            if len(waiting) * waiting[0].nbytes >= BLOCK:
                yield np.stack(waiting)
                waiting.clear()
        if waiting:
            yield np.stack(waiting)

    def _checked(self, what: str, frame: np.ndarray) -> np.ndarray:
        frame = frame[..., None] if frame.ndim == 2 else frame
        if np.issubdtype(frame.dtype, np.floating):
            frame = frame.astype(np.float32)
            if not np.isfinite(frame).all():
                raise BadInput(f"{what} holds NaN or infinite values (as float32); mend or drop it")
        elif frame.dtype != np.uint8:
            raise BadInput(f"{what} is of type {frame.dtype}, expected uint8 or floats")
        if frame.ndim != 3 or 0 in frame.shape or frame.shape[2] != len(self._channels):
            raise BadInput(f"{what} has shape {frame.shape}, expected (h, w, {len(self._channels)})")
        self._kind = self._kind or (frame.shape, frame.dtype)
        if (frame.shape, frame.dtype) != self._kind:
            raise BadInput(
                f"{what} is {frame.dtype} {frame.shape}, but those before are {self._kind[1]} {self._kind[0]}; "
                "one file holds frames of one size and type"
            )
        return frame


def _check_count(name: str, count: int, times: np.ndarray | None, starts: Sequence[int] | None) -> None:
    """Refuse a clip without frames, and times and windows that do not go with its frames."""
    if count == 0:
        raise BadInput(f"clip {name}: holds no frames")
    if times is not None and times.shape != (count,):
        raise BadInput(f"clip {name}: has {count} frames, but times of shape {times.shape}")
    if any(not 0 <= s < count for s in starts or ()):
        raise BadInput(f"clip {name}: has {count} frames, but windows that start outside of them: {starts}")


def read_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of a prepared file.

    Raises:
        BadInput: no such file, not HDF5, or another format or version.
    """
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; prepare it with `moga-st data prepare`, or name the data root that holds it"
        )
    with storage.open_hdf5(path) as file:
        about: dict[str, Any] = dict(file.attrs)
    if about.get("format") != FORMAT:
        raise BadInput(
            f"{path}: an HDF5 file, but no prepared clips (its format is {about.get('format')!r}); "
            "prepare it with `moga-st data prepare`"
        )
    if about.get("version") != VERSION:
        raise BadInput(
            f"{path}: version {about.get('version')} of the format, this is moga_st for version {VERSION}; {AGAIN}"
        )
    return _checked(path, about)


def _checked(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The attributes, each of its kind."""
    try:
        for name in ("source", "licence", "unit", "fingerprint"):
            about[name] = str(about[name])
        about["channels"] = [str(c) for c in np.atleast_1d(about["channels"])]
        about["fps"], about["standardise"] = float(about["fps"]), bool(about["standardise"])
        for name in ("mean", "std"):
            about[name] = np.atleast_1d(np.asarray(about[name], np.float64))
            if about[name].shape != (len(about["channels"]),) or not np.isfinite(about[name]).all():
                raise ValueError(f"{name} is not a finite number for each channel")
        if (about["std"] <= 0).any():
            raise ValueError("std is not positive")
        text = about["conventions"]
        conventions = storage.parse_json((text if isinstance(text, bytes) else str(text).encode()), path)
        about["conventions"] = {str(k): str(v) for k, v in conventions.items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(f"{path}: not as prepared clips are ({error}); {AGAIN}") from error
    return about


def describe(path: Path) -> str:
    """A prepared file in a few lines for people.

    Raises:
        BadInput: see :func:`read_attributes`.
    """
    about = read_attributes(path)
    lines = [f"{path} ({path.stat().st_size / 1e6:,.1f} MB): {about['source']}", f"licence: {about['licence']}"]
    with storage.open_hdf5(path) as file:
        frames: Any = file["train/frames"]
        (_, h, w, _), dtype = frames.shape, frames.dtype
        rate = "unknown rate" if math.isnan(about["fps"]) else f"{about['fps']:.6g} frames a second"
        unit = f" in {about['unit']}" if about["unit"] not in ("", "1") else ""
        lines.append(f"{dtype} {h}x{w}, {', '.join(about['channels'])}{unit}, {rate}")
        each = zip(about["channels"], np.atleast_1d(about["mean"]), np.atleast_1d(about["std"]), strict=True)
        lines += [f"  {name} of the training part: mean {mean:.4g}, deviation {std:.4g}" for name, mean, std in each]
        for split in SPLITS:
            group: Any = file[split]
            listed = f", {len(group['start']):,} windows listed" if "start" in group else ""
            lines.append(f"  {split}: {len(group['name']):,} clips, {len(group['frames']):,} frames{listed}")
    lines += [f"{k}: {v}" for k, v in about["conventions"].items()]
    return "\n".join(map(escape, lines))
