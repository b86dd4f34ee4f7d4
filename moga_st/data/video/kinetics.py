"""Kinetics-400 as prepared clips: every second frame of its videos, 256x256, RGB.

``annotations/{train,val,test}.csv`` list videos (label, youtube_id, time_start, time_end, split); the video of a line
is ``SPLIT/ID_SSSSSS_EEEEEE.mp4``.  Many of the videos have gone from where they were published: those that are not
there, or cannot be decoded, are left out and counted.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moga_st import storage
from moga_st.data.video.clips import open_video
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, RGB, resize, within
from moga_st.errors import BadInput

STEP, WINDOW = 2, 8  # video frames from one frame to the next; frames of a window
COLUMNS = ("youtube_id", "time_start", "time_end", "split")
SOURCE = "Kinetics-400 (Kay et al., arXiv 1705.06950)"
LICENCE = "lists CC BY 4.0; each video belongs to who made it"


def prepare(source: Path, out: Path, size: int = 256, train_frames: int = 16, most: int | None = None) -> None:
    """Write the prepared file of Kinetics-400.

    Args:
        source: The folder with annotations/ and the videos' folders, or one with it as kinetics400/.
        out: The file to write.
        size: Side of the square: the shorter side is resized to it, and the middle is taken; the published one is 256.
        train_frames: Frames kept of a training video, from its middle: every frame of every video would take 7 TB.
        most: Videos of each part at most, the first of its list; all of them if left out.

    Raises:
        BadInput: a list is missing or not of these columns, or a part has no video.
    """
    if train_frames < WINDOW:
        raise BadInput(f"train_frames: expected at least {WINDOW}, the frames of a window, got {train_frames}")
    root = within(source, "kinetics400", "annotations")
    conventions = {
        "mse, mae": FRAME_SUMS,
        "split": "as listed",
        "windows": f"val and test: the first {WINDOW} frames; training: every one of {train_frames} from the middle",
    }
    parts: tuple[Split, ...] = ("train", "val", "test")
    listed: dict[Split, list[Path]] = {split: read_list(root, split)[:most] for split in parts}
    there = {split: sum(p.is_file() for p in paths) for split, paths in listed.items()}
    frames = sum(count * (train_frames if split == "train" else WINDOW) for split, count in there.items())
    total = check_space(out, frames, (size, size, 3))
    with write_clips(out, SOURCE, LICENCE, RGB, conventions=conventions, frames=total) as writer:
        for split, paths in listed.items():
            added = 0
            for path in paths:
                starts = None if split == "train" else [0]
                try:
                    frames = _frames(path, size, train_frames if split == "train" else None)
                    added += writer.add_clip(split, f"{split}/{path.stem}", frames, starts=starts) > 0
                except BadInput as error:
                    if path.is_file():
                        warnings.warn(f"left out: {error}", stacklevel=2)
            if not added:
                raise BadInput(f"{root / split}: holds none of the {len(paths)} listed videos that can be decoded")
            if added < len(paths):
                warnings.warn(
                    f"{split}: {len(paths) - added} of {len(paths)} listed videos were left out", stacklevel=2
                )


def read_list(root: Path, split: str) -> list[Path]:
    """Where the videos of a part should be, in the order of its list, each once.

    Raises:
        BadInput: no such list, or a line of it is not as expected.
    """
    path = root / "annotations" / f"{split}.csv"
    videos = {}
    for line, row in storage.read_table(path, COLUMNS):
        name, first, last, folder = (row[c] for c in COLUMNS)
        if not (first.isdigit() and last.isdigit()) or any(c in name + folder for c in "/\\") or not (name and folder):
            raise BadInput(f"{path}: line {line} does not name a video of some seconds; fetch it again")
        videos[root / folder / f"{name}_{int(first):06d}_{int(last):06d}.mp4"] = None
    return list(videos)


def _frames(path: Path, size: int, middle: int | None) -> Iterator[np.ndarray]:
    """Every second frame, squared: the first ``WINDOW`` of them, or ``middle`` of them from the video's middle."""
    video = open_video(path)
    count = len(range(0, video.frames, STEP))
    wanted = WINDOW if middle is None else middle
    first = 0 if middle is None else max(0, (count - wanted) // 2)
    shown = list(itertools.islice(video.part(first * STEP, STEP, wanted), wanted))
    if len(shown) < WINDOW:
        raise BadInput(f"{path}: has {len(shown)} frames of every second one, too few for a window of {WINDOW}")
    for frame in shown:
        yield square(frame, size)


def square(frame: np.ndarray, size: int) -> np.ndarray:
    """The shorter side of (h, w, 3) to ``size``, and the middle of the longer one."""
    h, w = frame.shape[:2]
    scale = size / min(h, w)
    small = resize(frame, max(size, int(h * scale)), max(size, int(w * scale)), "bilinear")
    top, left = round((small.shape[0] - size) / 2), round((small.shape[1] - size) / 2)
    return small[top : top + size, left : left + size]
