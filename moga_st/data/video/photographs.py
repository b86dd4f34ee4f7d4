"""CIFAR-10's photographs, to stand behind moving digits: from the data root, or by torchvision's download.

Both of its layouts are read: ``cifar-10-batches-py`` (Python's pickles, of which only plain data is taken: nothing in
them can run) and ``cifar-10-batches-bin``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moga_st import storage
from moga_st.data.video.image_sets import ImageSet, ImageSetConfig, hold_out, place_of
from moga_st.errors import BadInput

TRAIN_BATCHES, TEST_BATCH = tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch"
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
SIDE = 32
_VALUES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class PhotographsConfig(ImageSetConfig):
    """A source of photographs: images (n, 3, h, w), RGB."""


@dataclass(frozen=True)
class CIFAR10Config(PhotographsConfig, kind="cifar10"):
    """CIFAR-10 (Krizhevsky 2009)."""

    def load(self, root: Path) -> ImageSet:
        """
        Raises:
            BadInput: it is not there and cannot be downloaded, or a file of it is damaged.
        """
        folder = _find(root)
        if folder is None:
            folder = _download(root)
        read = _read_python if folder.name == PYTHON else _read_binary
        train = np.concatenate([read(folder, name) for name in TRAIN_BATCHES])
        test = read(folder, TEST_BATCH).copy()  # torch wants memory that it may write to
        source = f"CIFAR-10, {len(train):,} training and {len(test):,} test images from {place_of(folder, root)}"
        return hold_out(torch.from_numpy(train), torch.from_numpy(test), source)


def _find(root: Path) -> Path | None:
    places = [place / name for place in (root, root / "cifar10") for name in (PYTHON, BINARY)]
    return next((p for p in places if p.is_dir()), None)


def _read_python(folder: Path, name: str) -> np.ndarray:
    """Images (n, 3, 32, 32) uint8 of a pickled dict with "data" (n, 3072)."""
    path = folder / name
    content = storage.read_pickle(path)
    data = None
    if isinstance(content, dict):
        data = content.get("data", content.get(b"data"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_VALUES,):
        raise BadInput(f"{path}: expected uint8 images (n, {_VALUES}) under 'data'; fetch CIFAR-10 again")
    return data.reshape(-1, 3, SIDE, SIDE)


def _read_binary(folder: Path, name: str) -> np.ndarray:
    """Images (n, 3, 32, 32) uint8 of rows of a label's byte and 3072 values."""
    path = folder / f"{name}.bin"
    raw = storage.read_bytes(path)
    if not raw or len(raw) % (_VALUES + 1):
        raise BadInput(
            f"{path}: {len(raw):,} bytes are no whole number of images of {_VALUES + 1}; fetch CIFAR-10 again"
        )
    return np.frombuffer(raw, np.uint8).reshape(-1, _VALUES + 1)[:, 1:].reshape(-1, 3, SIDE, SIDE)


def _download(root: Path) -> Path:
    from torchvision.datasets import CIFAR10  # slow to import and rarely needed
    from torchvision.datasets.utils import download_and_extract_archive

    root.mkdir(parents=True, exist_ok=True)
    try:
        download_and_extract_archive(CIFAR10.url, str(root), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)
    except (RuntimeError, OSError) as error:  # no network, or no place to write
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(
            f"CIFAR-10 is neither in {root} nor in {root / 'cifar10'}, and cannot be downloaded ({reason}); put its "
            f"folder {PYTHON} or {BINARY} there"
        ) from error
    return root / PYTHON
