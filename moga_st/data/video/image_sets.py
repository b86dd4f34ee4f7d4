"""Sets of small images that sequences are made of: what moves, and what stands behind it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from moga_st.config import Config


class ImageSet(NamedTuple):
    """uint8 images, (n, h, w) in grey or (n, 3, h, w) in colour: three disjoint sets, and where they come from."""

    train: Tensor
    val: Tensor  # held out of the training images
    test: Tensor
    source: str  # for people
    fingerprint: str  # for machines: a resumed run must find the same images


@dataclass(frozen=True)
class ImageSetConfig(Config, rooms=("moga_st.data.video",)):
    """A set of images; ``load(root)`` gives it from the data root."""

    def load(self, root: Path) -> ImageSet:
        raise NotImplementedError


def place_of(folder: Path, root: Path) -> str:
    """Where a folder is, by the data root where it lies in it: what goes into weights that are given away says nothing
    of whose machine it was."""
    if not folder.is_relative_to(root):
        return str(folder)
    inside = folder.relative_to(root).as_posix()
    return "the data root" if inside == "." else f"{inside} in the data root"


def hold_out(train: Tensor, test: Tensor, source: str) -> ImageSet:
    """A published training and test set, every twelfth training image held out (5,000 of 60,000, whatever the order of
    the classes)."""
    held_out = torch.arange(len(train)) % 12 == 0
    return ImageSet(train[~held_out], train[held_out], test, source, fingerprint(train, test))


def fingerprint(*images: Tensor) -> str:
    """Sixteen hex digits of what the images are."""
    digest = hashlib.sha256()
    for x in images:
        digest.update(x.numpy().tobytes())
    return digest.hexdigest()[:16]
