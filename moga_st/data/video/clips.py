"""Any clip that a user has, told by its content and never by its suffix, as it is or fitted to a network.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from moga_st import storage
from moga_st.data.video.arrays import open_grid, open_hdf5, open_npy, open_npz
from moga_st.data.video.clip import Clip
from moga_st.data.video.ffmpeg import open_ffmpeg
from moga_st.data.video.stills import is_picture, open_animation, open_folder
from moga_st.errors import BadInput

ZARR = (".zgroup", ".zarray", "zarr.json")
LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue: ITU-R BT.709, as scikit-image rounds it
_LOW, _HIGH = -0.5, 1.5  # a prediction of frames in [0, 1] stays within these


def open_clip(
    path: Path, variables: Sequence[str] = (), dimensions: Sequence[str] = (), channels: int | None = None
) -> Clip:
    """A clip of any kind: a video, an animated GIF, PNG or WebP, a TIFF of many pages, a folder of frames, .npy, .npz,
    HDF5, NetCDF, or a Zarr store.

    Args:
        path: the file or folder.
        variables: in files of several arrays, which; several ones of NetCDF or Zarr become channels.
        dimensions: of NetCDF and Zarr, the names of time, y and x.
        channels: how many the frames of an array should have, where that could be read in two ways.

    Raises:
        BadInput: there is no such file, or no clip in it; one line, which says what to do.
    """
    if path.is_dir():
        if any((path / name).is_file() for name in ZARR):
            return open_grid(path, variables, dimensions)
        return open_folder(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such clip")
    head = storage.first_bytes(path, 16)
    if not head:
        raise BadInput(f"{path}: is empty (0 bytes); copy or record it again")
    if head.startswith(b"\x93NUMPY"):
        return open_npy(path, channels)
    if head.startswith(b"PK\x03\x04"):
        return open_npz(path, variables, channels)
    if head.startswith(b"CDF") or (
        head.startswith(b"\x89HDF") and (dimensions or len(variables) > 1 or _is_netcdf(path))
    ):
        return open_grid(path, variables, dimensions)
    if head.startswith(b"\x89HDF"):
        return open_hdf5(path, variables, channels)
    return open_animation(path) if is_picture(path) else open_ffmpeg(path)


def _is_netcdf(path: Path) -> bool:
    with storage.open_hdf5(path) as file:
        return "_NCProperties" in file.attrs


@dataclass(frozen=True)
class Video:
    """A video's frames (h, w, 3), uint8 RGB, evenly spaced in time.  Iterating decodes them anew, one at a time, so
    that a video of any length needs the memory of one frame."""

    path: Path
    size_px: tuple[int, int]  # width and height, turned upright where the file says so
    fps: float
    frames: int
    shown: tuple[int, int | None, int] = (0, None, 1)  # first frame, frame to stop before, step

    def part(self, first: int, step: int, frames: int) -> Video:
        """So many of a whole video's frames, every ``step``-th from ``first`` on."""
        return replace(self, shown=(first, first + step * frames, step), frames=frames, fps=self.fps / step)

    def __iter__(self) -> Iterator[np.ndarray]:
        first, stop, step = self.shown
        for i, frame in enumerate(open_clip(self.path).read(first, stop)):
            if i % step == 0:
                yield frame.repeat(3, axis=2) if frame.shape[2] == 1 else frame


def open_video(path: Path, default_fps: float = 30.0) -> Video:
    """Size, rate and length of a video file, an animation or a folder of frames.

    Args:
        path: the file or folder.
        default_fps: the rate where it says none, as folders do.

    Raises:
        BadInput: no such file, no video, or one without frames of 8 bits.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such video")
    clip = open_clip(path)
    if len(clip.channels) not in (1, 3) or next(clip.read(0, 1)).dtype != np.uint8:
        raise BadInput(
            f"{path}: expected frames of 8 bits in grey or colour; save it as .mp4 (or, if it holds "
            "keypoints, as .npz with an array `keypoints`)"
        )
    return Video(path, clip.size_px, clip.fps or default_fps, clip.frames)


def read_clip(
    path: Path | Clip,
    channels: int,
    size: tuple[int, int] | None = None,
    first: int = 0,
    frames: int | None = None,
    *,
    images: bool = True,
) -> np.ndarray:
    """Read a clip as float32 (t, channels, h, w).

    uint8 becomes value / 255.  Colour becomes luminance (ITU-R BT.709) for a one-channel model; grey is repeated for
    three channels.  Other sizes are resized with anti-aliasing, without keeping the aspect ratio.

    Args:
        path: see :func:`open_clip`, or what it gave.
        channels: of the network.
        size: height and width; None keeps the clip's own.
        first: the first frame wanted.
        frames: how many; None takes all to the end.
        images: whether values are images in [0, 1]: floats far outside of that are refused, and a prediction's, which
            overshoot a little, are cut to it. Else values of any range are taken as they are.

    Raises:
        BadInput: no such file, no clip in it, other channels, a wrong range, or NaN frames.
    """
    clip = path if isinstance(path, Clip) else open_clip(path, channels=channels)
    stop = None if frames is None else first + frames
    own = fitted_frames(clip, channels, size, first, stop, images=images)
    one = next(own, None)
    if one is None:
        raise BadInput(f"{clip.path}: holds no frames from frame {first} on; it has {clip.frames}")
    most = clip.frames if stop is None else min(stop, clip.frames)
    out = np.empty((most - first, *one.shape), one.dtype)  # large frames need not be there twice
    count = 0
    for count, frame in enumerate(chain([one], own), 1):
        out[count - 1] = frame
    return out[:count]


def fitted_frames(
    clip: Clip, channels: int, size: tuple[int, int] | None, first: int, stop: int | None, *, images: bool
) -> Iterator[np.ndarray]:
    """Frames ``first`` to ``stop`` - 1 as :func:`read_clip` gives them, (channels, h, w) each, one at a time: a minute
    of large video would not fit into memory.

    Raises:
        BadInput: as there.
    """
    own = len(clip.channels)
    if own != channels and (own, channels) not in ((1, 3), (3, 1)):
        raise BadInput(f"{clip.path}: has {own} channels ({', '.join(clip.channels)}), the model takes {channels}")
    for i, frame in enumerate(clip.read(first, stop), first):
        yield _fit(checked(clip.path, frame, images=images, number=i), channels, size, images=images)


def checked(path: Path, frame: np.ndarray, *, images: bool, number: int | None = None) -> np.ndarray:
    """A frame (h, w, c) of the clip ``path`` as float32.

    Raises:
        BadInput: values that are not finite, or, in ``images``, floats outside [0, 1].
    """
    which = "a frame" if number is None else f"frame {number}"
    if frame.dtype == np.uint8:
        return frame.astype(np.float32) / 255.0
    if not np.isfinite(frame).all():
        raise BadInput(f"{path}: {which} holds NaN or infinite values; mend or drop it")
    if images and (frame.min() < _LOW or frame.max() > _HIGH):
        raise BadInput(
            f"{path}: floats must be in [0, 1], got {frame.min():.3g} to {frame.max():.3g} in {which}; divide "
            "by the largest value, or store uint8"
        )
    return frame


def _fit(frame: np.ndarray, channels: int, size: tuple[int, int] | None, *, images: bool) -> np.ndarray:
    """(h, w, c) -> (channels, *size), float32; images in [0, 1]."""
    pixels = torch.from_numpy(frame).permute(2, 0, 1)
    if size is not None and frame.shape[:2] != size:
        pixels = resized(pixels, size)
    if channels == 1 and frame.shape[2] == 3:
        pixels = torch.tensordot(torch.tensor(LUMINANCE), pixels, 1)[None]
    fitted = pixels.expand(channels, -1, -1).contiguous().numpy()
    return fitted.clip(0.0, 1.0) if images else fitted


def resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Float frames (c, h, w) in another size: bilinear, each pixel made of all those that it covers."""
    # Pillow takes one thread: a frame is too little work to share, and waiting for other threads costs more than it
    planes = [Image.fromarray(p).resize((size[1], size[0]), Image.Resampling.BILINEAR) for p in pixels.float().numpy()]
    return torch.from_numpy(np.stack([np.asarray(p) for p in planes]))
