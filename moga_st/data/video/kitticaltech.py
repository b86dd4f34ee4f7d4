"""KITTI for training and Caltech Pedestrian for testing, as prepared clips: 128x160, RGB, 10 frames a second.

KITTI comes as PredNet's hickle files, which are HDF5: ``kitti_hkl/X_train.hkl`` (n, 128, 160, 3) uint8 and
``sources_train.hkl`` with the recording of each frame.  Caltech comes as its own videos, ``caltech/setNN/VNNN.seq``
(Norpix), or as the arrays that the field's loaders keep of them, ``caltech/data_cache.npy`` and
``indices_cache.npy``, whose colours are BGR.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from moga_st import storage
from moga_st.data.video.clip import check_size
from moga_st.data.video.prepared_clips import PreparedClipsWriter, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, RGB, windows_from_end, within
from moga_st.errors import BadInput

HEIGHT, WIDTH = 128, 160
WINDOW = 11  # 10 in, 1 out
CALTECH_STEP = 3  # of 30 frames a second; the third frame is the first one taken
SOURCE = "KITTI (Geiger et al., IJRR 2013) and Caltech Pedestrian (Dollar et al., PAMI 2012)"
LICENCE = "KITTI: CC BY-NC-SA 3.0; Caltech Pedestrian: for research, cite the paper"
FPS = 10.0
AT_ONCE = 256  # frames read at once
MOST = 64 << 20  # bytes of one JPEG


def prepare(source: Path, out: Path) -> None:
    """Write the prepared file of KITTI and Caltech Pedestrian.

    Args:
        source: The folder with kitti_hkl/ and caltech/.
        out: The file to write.

    Raises:
        BadInput: a file is missing or cannot be read.
    """
    kitti, caltech = source / "kitti_hkl", source / "caltech"
    conventions = {
        "mse, mae": FRAME_SUMS,
        "split": "KITTI trains; PredNet's validation recordings validate, or else the last twentieth of the training "
        "recordings; Caltech tests",
        "windows": f"val and test: {WINDOW} frames from each recording's end backwards, without overlap",
    }
    total = check_space(out, _count(within(kitti, "", "X_train.hkl"), caltech), (HEIGHT, WIDTH, 3))
    with write_clips(out, SOURCE, LICENCE, RGB, fps=FPS, conventions=conventions, frames=total) as writer:
        _add_kitti(writer, within(kitti, "", "X_train.hkl"))
        if (caltech / "data_cache.npy").is_file():
            _add_cache(writer, caltech)
        else:
            _add_videos(writer, caltech)


def _count(kitti: Path, caltech: Path) -> int:
    """About how many frames there are: those that .seq files' headers name."""
    frames = len(read_hickle_list(kitti / "sources_train.hkl"))
    if (kitti / "X_val.hkl").is_file():
        frames += len(read_hickle_list(kitti / "sources_val.hkl"))
    cache = caltech / "data_cache.npy"
    if cache.is_file():
        return frames + len(storage.open_npy(cache))
    return frames + sum(_frames_named(path) // CALTECH_STEP for path in caltech.glob("set*/*.seq"))


def _frames_named(path: Path) -> int:
    """The number of frames in a .seq file's header; a file of so many bytes cannot have more."""
    with storage.open_file(path) as file:
        header = file.read(1024)
    return min(struct.unpack_from("<I", header, 572)[0], path.stat().st_size // 256) if len(header) == 1024 else 0


def read_hickle_list(path: Path) -> list[str]:
    """The list of strings in a hickle file, whichever version of hickle wrote it.

    Raises:
        BadInput: not HDF5, or it holds something else.
    """
    with storage.open_hdf5(path) as file:
        texts = _texts(file)
    if not texts:
        raise BadInput(f"{path}: holds no list of names; fetch it again")
    return texts


def read_seq(path: Path) -> Iterator[np.ndarray]:
    """The frames (h, w, 3) uint8 RGB of a Norpix .seq file of JPEG images, one at a time.

    Raises:
        BadInput: no such file, another format, or damaged.
    """
    with storage.open_file(path) as file:
        header = file.read(1024)
        if len(header) < 1024 or header[:4] != b"\xed\xfe\x00\x00" or header[4:24] != "Norpix seq".encode("utf-16-le"):
            raise BadInput(f"{path}: has no Norpix header; it is no .seq video")
        (kind,) = struct.unpack_from("<I", header, 568)
        if kind not in (102, 201):
            raise BadInput(f"{path}: its images are of kind {kind}, expected JPEG (102 or 201), as Caltech's are")
        gap, first = 8, True  # after an image: its time, and in some files eight bytes more
        while size := file.read(4):
            (length,) = struct.unpack("<I", size.ljust(4, b"\0"))
            if length == 0 and not first:
                gap = 16
                file.seek(4, 1)
                continue
            data = file.read(min(length, MOST) - 4) if length > 4 else b""
            if len(size) < 4 or len(data) < length - 4 or data[:2] != b"\xff\xd8":
                raise BadInput(f"{path}: damaged {file.tell():,} bytes from its beginning; fetch it again")
            try:
                with storage.open_picture(data) as image:
                    check_size(path, *image.size)
                    frame = np.asarray(image.convert("RGB"))
            except BadInput:
                raise
            except Exception as error:  # Pillow raises whatever it likes
                raise BadInput(f"{path}: holds an image that cannot be decoded ({error})") from error
            yield frame
            file.seek(gap, 1)
            first = False


def fit(frame: np.ndarray) -> np.ndarray:
    """A frame of Caltech's as PredNet prepares it: 128 rows, smoothed, and the middle 160 columns."""
    from skimage.transform import resize

    scale = HEIGHT / frame.shape[0]
    small = np.asarray(resize(frame, (HEIGHT, round(scale * frame.shape[1])), preserve_range=True))
    left = (small.shape[1] - WIDTH) // 2
    return np.rint(small[:, left : left + WIDTH]).astype(np.uint8)


def _add_kitti(writer: PreparedClipsWriter, folder: Path) -> None:
    names = read_hickle_list(folder / "sources_train.hkl")
    own_val = (folder / "X_val.hkl").is_file()
    last = len(names) if own_val else _hold_out(names)
    _add_recordings(writer, folder / "X_train.hkl", names, last)
    if own_val:
        _add_recordings(writer, folder / "X_val.hkl", read_hickle_list(folder / "sources_val.hkl"), 0)


def _hold_out(names: list[str]) -> int:
    """The frame from which recordings validate: whole ones, a twentieth of all frames or a little more."""
    starts = [i for i, (a, b) in enumerate(pairwise(names), 1) if a != b]
    return max((s for s in starts if s <= len(names) * 19 // 20), default=len(names))


def _add_recordings(writer: PreparedClipsWriter, path: Path, names: list[str], last: int) -> None:
    """Frames before ``last`` train, those from it on validate."""
    with storage.open_hdf5(path) as file:
        frames = _largest(file)
        if frames is None or frames.shape != (len(names), HEIGHT, WIDTH, 3) or frames.dtype != np.uint8:
            found = "none" if frames is None else f"{frames.dtype} {frames.shape}"
            raise BadInput(f"{path}: expected uint8 frames ({len(names)}, {HEIGHT}, {WIDTH}, 3), got {found}")
        first = 0
        for i, (name, group) in enumerate(groupby(names)):
            count = len(list(group))
            split = "train" if first < last else "val"
            blocks = (frames[a : min(a + AT_ONCE, first + count)] for a in range(first, first + count, AT_ONCE))
            if count >= WINDOW:
                starts = None if split == "train" else windows_from_end(count, WINDOW, WINDOW)
                writer.add_clip(split, f"{name}/{i}", (f for block in blocks for f in block), starts=starts)
            first += count


def _add_cache(writer: PreparedClipsWriter, folder: Path) -> None:
    frames = storage.open_npy(folder / "data_cache.npy")
    starts = np.sort(storage.read_npy(folder / "indices_cache.npy").ravel()).tolist()
    if frames.dtype != np.uint8 or frames.shape[1:] != (HEIGHT, WIDTH, 3):
        raise BadInput(
            f"{folder / 'data_cache.npy'}: expected uint8 (n, {HEIGHT}, {WIDTH}, 3), got {frames.dtype} {frames.shape}"
        )
    apart = min((b - a for a, b in pairwise(starts)), default=WINDOW)
    if not starts or starts[0] < 0 or starts[-1] + WINDOW > len(frames) or apart < WINDOW:
        raise BadInput(f"{folder / 'indices_cache.npy'}: expected starts of windows of {WINDOW} frames; make it again")
    # the videos' ends are not known, but every listed window lies within one
    writer.add_clip("test", "caltech", (frame[..., ::-1] for frame in frames), starts=starts)


def _add_videos(writer: PreparedClipsWriter, folder: Path) -> None:
    videos = sorted(folder.glob("set*/*.seq"))
    if not videos:
        raise BadInput(f"{folder}: has neither data_cache.npy nor setNN/VNNN.seq; add Caltech's videos")
    for path in videos:
        frames = [fit(f) for i, f in enumerate(read_seq(path), 1) if i % CALTECH_STEP == 0]
        if len(frames) >= WINDOW:
            starts = windows_from_end(len(frames), WINDOW, WINDOW)
            writer.add_clip("test", f"{path.parent.name}/{path.stem}", frames, starts=starts)


def _largest(group: Any) -> Any:
    """The largest data set of an HDF5 group."""
    found = [item if hasattr(item, "dtype") else _largest(item) for item in group.values()]
    return max((f for f in found if f is not None), key=lambda d: d.nbytes, default=None)


def _texts(item: Any) -> list[str]:
    """The strings in an HDF5 group or data set, in their order: hickle numbers them, data_0, data_1, ..."""
    if not hasattr(item, "dtype"):
        names = sorted(item, key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
        return [text for name in names for text in _texts(item[name])]
    if item.dtype.kind in "OS":
        return [t.decode() if isinstance(t, bytes) else str(t) for t in np.ravel(item[()])]
    if item.dtype.kind in "ui" and item.dtype.itemsize == 1:  # the bytes of one string
        return [item[()].tobytes().decode()]
    return [str(t) for t in np.ravel(item[()])]  # numbers name recordings too
