"""A user's own clip as frames: .npy, .gif and video files, small for a model or one by one as they are.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` size; values in [0, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageSequence
from skimage.color import rgb2gray
from skimage.transform import resize

from moga_st.errors import BadInput

VIDEO = (".gif", ".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".3gp")


@dataclass(frozen=True)
class Video:
    """A video file's frames (h, w, 3), uint8 RGB.  Iterating decodes them anew, one at a time, so that a video of any
    length needs the memory of one frame."""

    path: Path
    size_px: tuple[int, int]  # width and height, turned upright where the file says so
    fps: float
    frames: int  # as the file says; a variable frame rate is evened out, which may change it a little
    shown: tuple[int, int | None, int] = (0, None, 1)  # first frame, frame to stop before, step

    def part(self, first: int, step: int, frames: int) -> Video:
        """So many of a whole video's frames, every ``step``-th from ``first`` on."""
        return replace(self, shown=(first, first + step * frames, step), frames=frames, fps=self.fps / step)

    def __iter__(self) -> Iterator[np.ndarray]:
        with closing(_decode(self.path)) as whole:
            yield from itertools.islice(whole, *self.shown)


def open_video(path: Path) -> Video:
    """Size, rate and length of a video file or GIF.

    Raises:
        BadInput: no such file, no video, or one without frames.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such video")
    if path.suffix.lower() == ".gif":
        try:
            with Image.open(path) as image:
                durations = _durations(image)
        except Exception as error:
            raise BadInput(f"{path}: cannot be decoded ({error})") from error
        shortest = min((d for d in durations if d > 0), default=100)  # viewers take 100 ms where none is given
        fps, frames = 1000 / shortest, sum(_repeats(durations))
    else:
        try:
            with closing(imageio_ffmpeg.read_frames(path)) as reader:
                fps = float(next(reader)["fps"])
            frames = int(imageio_ffmpeg.count_frames_and_secs(path)[0] or 0)
        except Exception as error:
            raise BadInput(f"{path}: cannot be decoded ({error})") from error
    with closing(_decode(path)) as whole:
        one = next(whole, None)
    if one is None or not fps > 0:
        raise BadInput(f"{path}: holds no frames")
    return Video(path, (one.shape[1], one.shape[0]), fps, frames)


def _decode(path: Path) -> Generator[np.ndarray, None, None]:
    """Frames (h, w, 3) uint8."""
    try:
        if path.suffix.lower() == ".gif":
            yield from _read_gif(path)
        else:
            # by content: left alone, imageio refuses endings that it does not know
            yield from iio.imiter(path, plugin="FFMPEG", extension=".mp4")
    except Exception as error:  # the decoders raise whatever they like
        raise BadInput(f"{path}: cannot be decoded ({error})") from error


def read_clip(path: Path, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Read a clip as float32 (t, channels, h, w) in [0, 1], h and w as in ``size``.

    A .npy file holds (t, h, w), (t, 1 or 3, h, w) or (t, h, w, 1 or 3), as uint8 or as floats in [0, 1].
    Colour becomes luminance (ITU-R BT.709) for a one-channel model; grey is repeated for three channels.
    Other sizes are resized with anti-aliasing, without keeping the aspect ratio.

    Raises:
        BadInput: no such file, an unknown format, a wrong shape or range, or NaN frames.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such clip")
    if path.suffix.lower() == ".npy":
        frames = iter(_from_array(path))
    elif path.suffix.lower() in VIDEO:
        frames = _from_video(path)
    else:
        raise BadInput(f"{path}: unknown clip format {path.suffix!r}; expected .npy, {', '.join(VIDEO)}")
    # one frame at a time: a minute of large video would not fit into memory
    clip = [_fit(frame, channels, size) for frame in frames]
    if not clip:
        raise BadInput(f"{path}: holds no frames")
    return np.stack(clip)


def _from_array(path: Path) -> np.ndarray:
    """(t, h, w, c) float32 in [0, 1]."""
    try:
        frames = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: cannot be read as a .npy file ({error})") from error
    if frames.ndim == 3:
        frames = frames[..., None]
    elif frames.ndim == 4 and frames.shape[1] in (1, 3) and frames.shape[3] not in (1, 3):
        frames = frames.transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[3] not in (1, 3):
        raise BadInput(
            f"{path}: expected one clip of shape (t, h, w), (t, 1 or 3, h, w) or (t, h, w, 1 or 3), got {frames.shape}"
        )
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255.0
    if not np.issubdtype(frames.dtype, np.floating):
        raise BadInput(f"{path}: expected uint8, or floats in [0, 1], got {frames.dtype}")
    bad = ~np.isfinite(frames).all(axis=(1, 2, 3))
    if bad.any():
        raise BadInput(f"{path}: frame {int(bad.argmax())} holds NaN or infinite values; mend or drop it")
    if frames.min() < -1e-6 or frames.max() > 1 + 1e-6:
        raise BadInput(
            f"{path}: floats must be in [0, 1], got {frames.min():.3g} to {frames.max():.3g}; divide by the "
            "largest value, or store uint8"
        )
    return frames.astype(np.float32)


def _from_video(path: Path) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) float32 in [0, 1]."""
    for frame in _decode(path):
        yield frame.astype(np.float32) / 255.0


def _read_gif(path: Path) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8.  Encoders merge equal frames into one that is shown longer, so a frame shown k
    times as long as the shortest is k frames."""
    with Image.open(path) as image:
        durations = _durations(image)
        for frame, repeats in zip(ImageSequence.Iterator(image), _repeats(durations), strict=True):
            yield from [np.array(frame.convert("RGB"))] * repeats


def _durations(image: Image.Image) -> list[float]:
    """Of a GIF's frames, in milliseconds."""
    return [frame.info.get("duration", 0) for frame in ImageSequence.Iterator(image)]


def _repeats(durations: list[float]) -> list[int]:
    shortest = min((d for d in durations if d > 0), default=1)
    return [max(1, round(d / shortest)) for d in durations]


def _fit(frame: np.ndarray, channels: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 1 or 3) -> (channels, *size), float32 in [0, 1]."""
    if channels == 1 and frame.shape[2] == 3:
        frame = rgb2gray(frame)[..., None]
    elif channels == 3 and frame.shape[2] == 1:
        frame = frame.repeat(3, axis=2)
    if frame.shape[:2] != size:
        frame = np.asarray(resize(frame, size, anti_aliasing=True))
    return np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32).clip(0.0, 1.0)
