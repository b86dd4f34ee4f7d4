"""Own clips as one prepared file: videos, animations, folders of frames, arrays, or one long recording.

Shape legend: ``h w`` size, ``c`` channels.
"""

from __future__ import annotations

import hashlib
import mimetypes
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from moga_st.data.video.clip import Clip, DamagedClip
from moga_st.data.video.clips import LUMINANCE, ZARR, checked, open_clip, resized
from moga_st.data.video.prepared_clips import SPLITS, Split, check_space, write_clips
from moga_st.data.video.stills import is_picture
from moga_st.errors import BadInput
from moga_st.storage import first_bytes


@dataclass(frozen=True)
class ClipsOptions:
    """How clips are prepared.

    Raises:
        BadInput: a number that makes no sense.
    """

    size: tuple[int, int] | None = None
    """Height and width of the frames, which are resized without keeping their aspect ratio; the clips' own if left
    out."""
    fps: float | None = None
    """Frames a second: the nearest earlier frame is taken at each moment; the clips' own rate if left out."""
    grey: bool = False
    """Luminance (ITU-R BT.709) instead of colour."""
    split: Literal["auto", "file", "time"] = "auto"
    """file: whole clips go to train, val or test. time: of each clip the first part trains, the last one tests, and the
    one between validates. auto: by file where there are 10 clips or more, else by time."""
    val: float = 0.1
    """What validates: a share below 1, or a number of clips (by file) or of each clip's frames (by time)."""
    test: float = 0.1
    """What tests: as `val`."""
    gap: int = 10
    """Frames left out between parts of one clip, so that what is scored does not all but repeat what was trained on."""
    variables: tuple[str, ...] = ()
    """In files of several arrays (.npz, HDF5, NetCDF, Zarr): which; those of NetCDF and Zarr become channels."""
    dimensions: tuple[str, ...] = ()
    """In NetCDF and Zarr: names of time, y and x."""
    unit: str | None = None
    """Of floats that are no images in [0, 1], such as m/s; `1` for numbers without one. Left out, the clips' own, and
    images where they have none. With a unit, values are standardised and scored in it."""
    fill: float | None = None
    """A value for what is missing (NaN); left out, missing values are refused."""
    bad: Literal["stop", "skip"] = "stop"
    """A file that cannot be read whole stops everything, or is named and left out."""
    licence: str = "not stated"
    """Of the clips, for whoever gets the file."""

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise BadInput(f"size: expected at least 1 pixel, got {self.size}")
        if self.fps is not None and not self.fps > 0:
            raise BadInput(f"fps: expected more than 0, got {self.fps}")
        if self.gap < 0 or self.val < 0 or self.test < 0:
            raise BadInput(f"gap, val, test: expected 0 or more, got {self.gap}, {self.val}, {self.test}")


class _Piece(NamedTuple):
    """Frames ``first`` to ``stop`` - 1, at the file's rate, of one clip."""

    split: Split
    name: str
    clip: Clip
    first: int
    stop: int


def prepare_clips(
    source: Path, out: Path, options: ClipsOptions | None = None, say: Callable[[str], None] = print
) -> None:
    """Write a prepared file of clips, a few frames in memory at a time, with a progress bar on stderr.

    Args:
        source: a clip (see :func:`moga_st.data.video.clips.open_clip`), or a folder of them, with folders inside.
        out: the file to write.
        options: how.
        say: gets a line before the work starts, on what will be written and its size, and one a file left out.

    Raises:
        BadInput: no clips, clips that differ in size, rate or channels where nothing says into which, a bad file (as
            asked), or too few frames for the parts.
        OSError: less space on the disk than needed.
    """
    o = options or ClipsOptions()
    clips = _opened(source, o, say)
    size, fps, channels, is_float = _common(clips, o)
    pieces = _split(clips, o)
    for split in SPLITS[: 1 if o.val == 0 and o.test == 0 else 3]:
        if not any(p.split == split for p in pieces) and getattr(o, split, 1) > 0:
            raise BadInput(
                f"{source}: {len(clips)} clips, the longest of {max(c.frames for c in clips)} frames: too few clips or "
                f"frames for a part {split}; give more, or a smaller val, test or gap"
            )
    frames = sum(p.stop - p.first for p in pieces)
    unit = _unit(clips, o)
    if o.unit and not is_float:
        raise BadInput(f"{source}: holds images of 8 bits, which have no unit; leave it out", argument="unit")
    as_images = is_float and not unit
    taken = "; floats are taken for images in [0, 1], with a unit they would be fields" if as_images else ""
    say(f"{len(clips)} clips, {', '.join(channels)}{taken}")
    total = check_space(out, frames, (*size, len(channels)), 4 if is_float else 1, say)
    dated = all(c.time_s is not None for c in clips)
    apart = f"time, {o.gap} frames apart" if _by(clips, o) == "time" else "file"
    about = f"{len(clips)} clips of {source.name}, parts by {apart}"
    known = {"unit": unit, "fps": fps, "standardise": is_float and not as_images, "frames": total}
    with write_clips(out, about, o.licence, channels, **known) as writer:
        for piece in pieces:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", DamagedClip)
                    frames_of = _frames(piece, size, channels, fps, is_float, o)
                    if as_images:
                        frames_of = _images(piece.clip.path, frames_of)
                    dates = piece.clip.time_s if dated else None
                    times = None if dates is None else dates[_wanted(piece, fps, o)]
                    writer.add_clip(piece.split, piece.name, frames_of, time_s=times)
            except (BadInput, DamagedClip) as error:
                if o.bad == "stop":
                    raise BadInput(f"{error}; mend it, take it out, or have bad files skipped") from error
                say(f"left out: {error}")


def _opened(source: Path, o: ClipsOptions, say: Callable[[str], None]) -> list[Clip]:
    if not source.exists():
        raise BadInput(f"{source}: no such file or folder")
    clips = []
    for path in clips_in(source):
        try:
            clips.append(open_clip(path, o.variables, o.dimensions))
        except BadInput as error:
            if path == source:
                raise
            if o.bad == "stop":
                raise BadInput(f"{error}; or take it out, or have bad files skipped") from error
            say(f"left out: {error}")
    if not clips:
        raise BadInput(f"{source}: no clips in it that can be read")
    return clips


def clips_in(source: Path) -> Iterator[Path]:
    """Clips below a folder, in the order of their names; text files are none unless they are named so, nor is a folder
    that links lead to once more."""
    yield from _clips_in(source, set())


def _clips_in(source: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    if not source.is_dir() or any((source / name).is_file() for name in ZARR):
        yield source
        return
    folder = source.stat()
    if (folder.st_dev, folder.st_ino) in seen:
        return
    seen.add((folder.st_dev, folder.st_ino))
    inside = sorted(p for p in source.iterdir() if not p.name.startswith("."))
    files = [p for p in inside if p.is_file()]
    stills = [p for p in files if is_picture(p) and p.suffix.lower() not in (".gif", ".apng", ".webp", ".tif", ".tiff")]
    if len(stills) > 1:  # a folder of frames
        yield source
        return
    for path in inside:
        if path.is_dir():
            yield from _clips_in(path, seen)
        elif not _is_text(path) or _is_named_a_clip(path):
            yield path


def _is_named_a_clip(path: Path) -> bool:
    """Such a file is no clip by mistake, and named as one that cannot be read."""
    kind = mimetypes.MimeTypes().guess_type(path.name)[0] or ""  # Python's own table, the same on every machine
    return kind.startswith("video/") or path.suffix.lower() in (".mkv", ".gif", ".npy", ".npz", ".h5", ".nc")


def _is_text(path: Path) -> bool:
    head = first_bytes(path, 1024)
    try:
        return bool(head) and b"\0" not in head and bool(head[:1000].decode("utf-8", "strict") or True)
    except UnicodeDecodeError:
        return False


def _common(clips: list[Clip], o: ClipsOptions) -> tuple[tuple[int, int], float | None, tuple[str, ...], bool]:
    """Height and width, rate, channels, and whether values are floats."""
    one = clips[0]
    for clip in clips:
        if o.size is None and clip.size_px != one.size_px:
            (w, h), (w1, h1) = clip.size_px, one.size_px
            raise BadInput(
                f"{clip.path}: {h} x {w} pixels (height x width), but {one.path} has {h1} x {w1}; give one size for all"
            )
        if o.fps is None and (clip.fps is None) != (one.fps is None):
            silent, other = (clip, one) if clip.fps is None else (one, clip)
            raise BadInput(
                f"{silent.path}: does not say its rate, but {other.path} has {other.fps:.4g} frames a second; "
                "prepare them apart"
            )
        if o.fps is None and clip.fps and one.fps and abs(clip.fps / one.fps - 1) > 0.01:
            raise BadInput(
                f"{clip.path}: {clip.fps:.4g} frames a second, but {one.path} {one.fps:.4g}; give one fps for all"
            )
        if o.fps is not None and clip.fps is None:
            raise BadInput(
                f"{clip.path}: does not say its rate, so it cannot be brought to {o.fps} a second; prepare it apart"
            )
    counts = {len(c.channels) for c in clips}
    if len(counts) > 1 and not counts <= {1, 3}:
        raise BadInput(
            f"{one.path}: has {len(one.channels)} channels, others have {sorted(counts)}; prepare them apart"
        )
    if o.grey and not counts <= {1, 3}:
        raise BadInput(f"{one.path}: has {len(one.channels)} channels; only images can be made grey")
    widest = max(clips, key=lambda c: len(c.channels))
    size = o.size or (one.size_px[1], one.size_px[0])
    is_float = any(next(c.read(0, 1)).dtype != np.uint8 for c in clips)
    return size, o.fps or one.fps, ("grey",) if o.grey else widest.channels, is_float


def _unit(clips: list[Clip], o: ClipsOptions) -> str:
    if o.unit is not None:
        return o.unit
    units = sorted({c.unit for c in clips})
    if len(units) > 1:
        other = next(c for c in clips if c.unit != clips[0].unit)
        raise BadInput(
            f"{other.path}: values in {other.unit or 'no unit'}, but those of {clips[0].path} in "
            f"{clips[0].unit or 'none'}; prepare them apart, or give one unit for all"
        )
    return units[0]


def _images(path: Path, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames, of which those that are no images are refused."""
    for frame in frames:
        try:
            yield checked(path, frame, images=True)
        except BadInput as error:
            raise BadInput(f"{error}; or give their unit, 1 for numbers without one, if they are no images") from None


def _by(clips: list[Clip], o: ClipsOptions) -> str:
    return o.split if o.split != "auto" else "file" if len(clips) >= 10 else "time"


def _split(clips: list[Clip], o: ClipsOptions) -> list[_Piece]:
    folder = Path(*_shared([c.path.parent.parts for c in clips]))
    names = [c.path.relative_to(folder).as_posix() for c in clips]
    counts = [c.frames if o.fps is None or c.fps is None else int(c.frames / c.fps * o.fps + 1e-6) for c in clips]
    if _by(clips, o) == "time":
        pieces = []
        for name, clip, count in zip(names, clips, counts, strict=True):
            test, val = (round(x * count) if x < 1 else int(x) for x in (o.test, o.val))
            test_first = count - test
            val_first = test_first - (o.gap if test else 0) - val
            train_stop = val_first - (o.gap if val else 0) if val else val_first
            parts: dict[Split, tuple[int, int]] = {
                "train": (0, train_stop),
                "val": (val_first, val_first + val),
                "test": (test_first, count),
            }
            for split, (first, stop) in parts.items():
                if 0 <= first < stop:
                    pieces.append(_Piece(split, f"{name}:{first}-{stop}", clip, first, stop))
        return pieces
    # in the order of a hash of the names, since neighbours in a folder resemble each other
    order = sorted(range(len(clips)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    test, val = (max(1, round(x * len(clips))) if 0 < x < 1 else int(x) for x in (o.test, o.val))
    part: dict[int, Split] = {
        i: "test" if k < test else "val" if k < test + val else "train" for k, i in enumerate(order)
    }
    return [_Piece(part[i], names[i], clips[i], 0, counts[i]) for i in range(len(clips))]


def _shared(parts: Sequence[tuple[str, ...]]) -> list[str]:
    same = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        same.append(level[0])
    return same


def _wanted(piece: _Piece, fps: float | None, o: ClipsOptions) -> list[int]:
    """Numbers of the piece's frames in its clip."""
    ratio = 1.0 if o.fps is None or piece.clip.fps is None or fps is None else piece.clip.fps / fps
    return [min(int(k * ratio + 1e-6), piece.clip.frames - 1) for k in range(piece.first, piece.stop)]


def _frames(
    piece: _Piece,
    size: tuple[int, int],
    channels: tuple[str, ...],
    fps: float | None,
    is_float: bool,
    o: ClipsOptions,
) -> Iterator[np.ndarray]:
    """A piece's frames as they are stored: (h, w, c)."""
    wanted = _wanted(piece, fps, o)
    own = enumerate(piece.clip.read(wanted[0], wanted[-1] + 1), wanted[0])
    at, frame = next(own)
    fitted = _fitted(frame, size, channels, is_float, o)
    for number in wanted:
        if at < number:
            while at < number:
                at, frame = next(own, (number, frame))
            fitted = _fitted(frame, size, channels, is_float, o)
        yield fitted


def _fitted(
    frame: np.ndarray, size: tuple[int, int], channels: tuple[str, ...], is_float: bool, o: ClipsOptions
) -> np.ndarray:
    if o.fill is not None and frame.dtype != np.uint8:
        frame = np.where(np.isfinite(frame), frame, np.float32(o.fill))
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
    eight_bits = frame.dtype == np.uint8
    if frame.shape[:2] != size:
        pixels = resized(pixels.float(), size)
    if len(channels) == 1 and len(pixels) == 3:
        pixels = torch.tensordot(torch.tensor(LUMINANCE), pixels.float(), 1)[None]
    pixels = pixels.expand(len(channels), -1, -1).permute(1, 2, 0)
    if eight_bits and not is_float:
        return pixels.numpy() if pixels.dtype == torch.uint8 else pixels.round().clamp(0, 255).to(torch.uint8).numpy()
    return (pixels.float() / 255 if eight_bits else pixels.float()).numpy()
