"""Human3.6M's videos as prepared clips: every fifth image of what ``train.txt`` and ``test.txt`` list, RGB.

A line of the lists is ``images/S1_Directions.54138969_,begin,end``: a window of eight images, five apart, from
``images/S1_Directions.54138969_BEGIN.jpg`` on, with six digits.  Images five apart make up a clip, so a video whose
windows begin at any number becomes up to five clips, and no image is stored twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from moga_st import storage
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, RGB, read_image, resize, runs, within
from moga_st.errors import BadInput

STEP, WINDOW = 5, 8  # images from one frame to the next; frames of a window
VAL_SUBJECT = "S8"  # of the training list; test subjects are S9 and S11
SOURCE = "Human3.6M, videos (Ionescu, Papava, Olaru, Sminchisescu, PAMI 2014), with the lists of the field's loaders"
LICENCE = "for academic use, on application at vision.imar.ro/human3.6m; must not be passed on"
FPS = 50.0 / STEP


class ListedClip(NamedTuple):
    """Images ``STEP`` apart of one video, and the windows in them."""

    prefix: str  # images/S1_Directions.54138969_
    numbers: list[int]  # of its images
    starts: list[int]  # first frames of the listed windows, counted in its frames


def prepare(source: Path, out: Path, size: int = 256, val_subject: str = VAL_SUBJECT) -> None:
    """Write the prepared file of Human3.6M's videos.

    Args:
        source: The folder with images/, train.txt and test.txt, or one with it as human/.
        out: The file to write.
        size: Side of the square that frames are resized to; the published one is 256.
        val_subject: Whose videos of the training list validate.

    Raises:
        BadInput: a list is missing, empty or not of such lines, or an image cannot be read.
    """
    root = within(source, "human", "train.txt")
    listed = {"train": read_list(root / "train.txt"), "test": read_list(root / "test.txt")}
    subject = re.compile(rf"(.*/)?{re.escape(val_subject)}_")
    val = {prefix: begins for prefix, begins in listed["train"].items() if subject.match(prefix)}
    if not val:
        raise BadInput(f"{root / 'train.txt'}: lists no video of {val_subject}, who validates; name another subject")
    train = {prefix: begins for prefix, begins in listed["train"].items() if prefix not in val}
    conventions = {
        "mse, mae": FRAME_SUMS,
        "split": f"train.txt without {val_subject} trains, {val_subject} validates, test.txt tests",
        "windows": f"as listed: {WINDOW} frames, every {STEP}th image",
    }
    parts: dict[Split, dict[str, list[int]]] = {"train": train, "val": val, "test": listed["test"]}
    clips: dict[Split, list[ListedClip]] = {split: list(clips_of(videos)) for split, videos in parts.items()}
    total = check_space(out, sum(len(c.numbers) for found in clips.values() for c in found), (size, size, 3))
    with write_clips(out, SOURCE, LICENCE, RGB, fps=FPS, conventions=conventions, frames=total) as writer:
        for split, found in clips.items():
            for clip in found:
                paths = (root / f"{clip.prefix}{i:06d}.jpg" for i in clip.numbers)
                frames = (resize(read_image(path), size, size, "bicubic") for path in paths)
                name = f"{clip.prefix.rpartition('/')[2]}{clip.numbers[0]:06d}"
                writer.add_clip(split, f"{split}/{name}", frames, starts=clip.starts)


def read_list(path: Path) -> dict[str, list[int]]:
    """First images of the windows of each video, by the images' prefix.

    Raises:
        BadInput: unreadable, empty, or a line is not ``prefix,begin,end``.
    """
    begins: dict[str, list[int]] = defaultdict(list)
    for i, line in enumerate(storage.read_text(path).splitlines(), 1):
        words = line.strip().split(",")
        if words == [""]:
            continue
        if len(words) < 2 or not words[1].strip().isdigit() or ".." in words[0] or words[0].startswith("/"):
            raise BadInput(f"{path}: line {i} is {line!r:.60}, expected images/PREFIX_,begin,end")
        begins[words[0]].append(int(words[1]))
    if not begins:
        raise BadInput(f"{path}: lists no windows; fetch it again")
    return dict(begins)


def clips_of(videos: dict[str, list[int]]) -> Iterator[ListedClip]:
    """The fewest clips that hold all listed windows and no other images."""
    for prefix, begins in videos.items():
        for phase in range(STEP):
            mine = sorted({b for b in begins if b % STEP == phase})
            numbers = sorted({b + STEP * k for b in mine for k in range(WINDOW)})
            for run in runs(numbers, STEP):
                part = numbers[run]
                starts = [(b - part[0]) // STEP for b in mine if part[0] <= b <= part[-1]]
                yield ListedClip(prefix, part, starts)
