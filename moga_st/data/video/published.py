"""What the converters of published data sets share: images, sizes, and windows as the field's loaders list them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from moga_st.data.video.clip import check_size
from moga_st.errors import BadInput
from moga_st.storage import open_picture

RGB = ("red", "green", "blue")
FRAME_SUMS = "sums over channels, rows and columns of a frame in [0, 1], mean over frames and sequences"
"""What OpenSTL's tables call MSE and MAE of images; a line of a file's conventions."""


def within(source: Path, folder: str, has: str) -> Path:
    """``source`` itself or its folder ``folder``, whichever has the file or folder ``has``.

    Raises:
        BadInput: neither has.
    """
    for place in (source, source / folder):
        if (place / has).exists():
            return place
    raise BadInput(f"{source}: has no {has}, its folder {folder} neither; name the folder that has")


def read_image(path: Path) -> np.ndarray:
    """An image file as (h, w, 3) uint8 RGB.

    Raises:
        BadInput: no such file, or no image.
    """
    try:
        with open_picture(path) as image:
            check_size(path, *image.size)
            return np.asarray(image.convert("RGB"))
    except BadInput:
        raise
    except Exception as error:  # Pillow raises whatever it likes
        raise BadInput(f"{path}: cannot be read as an image ({error}); fetch it again") from error


def resize(frame: np.ndarray, height: int, width: int, mode: Literal["bilinear", "bicubic"]) -> np.ndarray:
    """(h, w, c) uint8 to another size as OpenCV does it, without smoothing first, since the published scores were
    made so; rounded to uint8."""
    if frame.shape[:2] == (height, width):
        return frame
    image = torch.from_numpy(frame.astype(np.float32)).permute(2, 0, 1)[None]
    image = F.interpolate(image, (height, width), mode=mode, align_corners=False)
    return image[0].permute(1, 2, 0).round_().clamp_(0, 255).byte().numpy()


def runs(numbers: Sequence[int], step: int = 1) -> Iterator[slice]:
    """The longest parts of ascending ``numbers`` whose neighbours are ``step`` apart."""
    ends = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if b - a != step]
    for first, last in pairwise([0, *ends, len(numbers)]):
        if first < last:
            yield slice(first, last)


def windows_from_end(count: int, length: int, step: int) -> list[int]:
    """Where windows of ``length`` frames begin that are laid from the end of ``count`` frames to their beginning, one
    ``step`` after the other; ascending."""
    return list(range(count - length, -1, -step))[::-1]
