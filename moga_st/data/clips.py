"""A user's own clip as frames for a model: .npy, .gif and video files.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` size; values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageSequence
from skimage.color import rgb2gray
from skimage.transform import resize

from moga_st.config import BadInput

VIDEO = (".gif", ".mp4", ".avi", ".mov", ".mkv", ".webm")


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
    try:
        frames = _read_gif(path) if path.suffix.lower() == ".gif" else iio.imiter(path, plugin="FFMPEG")
        for frame in frames:
            yield frame.astype(np.float32) / 255.0
    except Exception as error:  # the decoders raise whatever they like
        raise BadInput(f"{path}: cannot be decoded ({error})") from error


def _read_gif(path: Path) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8.  Encoders merge equal frames into one that is shown longer, so a frame shown k
    times as long as the shortest is k frames."""
    with Image.open(path) as image:
        durations = [frame.info.get("duration", 0) for frame in ImageSequence.Iterator(image)]
        shortest = min((d for d in durations if d > 0), default=1)
        for frame, duration in zip(ImageSequence.Iterator(image), durations, strict=True):
            yield from [np.array(frame.convert("RGB"))] * max(1, round(duration / shortest))


def _fit(frame: np.ndarray, channels: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 1 or 3) -> (channels, *size), float32 in [0, 1]."""
    if channels == 1 and frame.shape[2] == 3:
        frame = rgb2gray(frame)[..., None]
    elif channels == 3 and frame.shape[2] == 1:
        frame = frame.repeat(3, axis=2)
    if frame.shape[:2] != size:
        frame = np.asarray(resize(frame, size, anti_aliasing=True))
    return np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32).clip(0.0, 1.0)
