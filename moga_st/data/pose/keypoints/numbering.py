"""Which frame of the video a file's name or a list's entry stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from moga_st.data.pose.keypoints.content import frame_number
from moga_st.errors import BadInput

MOST_DIGITS = 12  # a longer group of digits is a time stamp or a hash, not a frame


def frame_numbers(names: Sequence[Any]) -> list[int]:
    """The frames that numbers or file names stand for.

    Numbers stand for themselves.  Of names, the last group of digits that varies counts if it tells them apart
    (``frame_12_cam1.jpg`` is frame 12), else their rank with digits read as numbers (``b2`` before ``b10``).

    Raises:
        ValueError: a number that is no frame's.
    """
    if all(not isinstance(name, str) for name in names):
        return [frame_number(name) for name in names]
    stems = [re.sub(r"\.[A-Za-z]\w*$", "", str(name)) for name in names]
    different = len(set(stems))
    groups = [re.findall(r"\d+", stem) for stem in stems]
    for column in range(1, min(len(g) for g in groups) + 1) if groups else ():
        digits = [g[-column] for g in groups]
        if max(map(len, digits)) > MOST_DIGITS:
            continue
        numbers = [int(d) for d in digits]
        if len(set(numbers)) == different and (different > 1 or column == 1):
            return numbers
    rank = {stem: i for i, stem in enumerate(sorted(set(stems), key=_natural))}
    return [rank[stem] for stem in stems]


def _natural(stem: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", stem)
    return [(0, len(p.lstrip("0")), p.lstrip("0")) if p.isdigit() else (1, 0, p) for p in pieces if p]


def counted(path: Path, listed: Iterable[int]) -> tuple[int, int, int]:
    """The first frame number, the step between numbers, and how many frames that makes, for the numbers a file lists.

    Raises:
        BadInput: numbers so far apart that they are no clip's.
    """
    present = sorted(listed)
    step = math.gcd(*(b - a for a, b in pairwise(present))) or 1
    span = (present[-1] - present[0]) // step + 1
    if span > 20 * len(present) + 100:
        raise BadInput(
            f"{path}: {len(present)} frames are numbered from {present[0]} to {present[-1]}, which is no clip; "
            "give consecutive frames of one video"
        )
    return present[0], step, span
