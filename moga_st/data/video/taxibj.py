"""TaxiBJ as prepared clips: taxis that enter and leave each of 32x32 cells of Beijing, every half hour.

``taxibj/dataset.npz`` holds samples, not recordings: X_train, Y_train, X_test, Y_test (n, 4, 2, 32, 32) in [-1, 1].
Samples that follow each other share seven of their eight frames where they were cut from one recording; such a row is
put together again, which stores each frame once and gives the same windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moga_st import storage
from moga_st.data.video.prepared_clips import Split, check_space, write_clips
from moga_st.data.video.published import FRAME_SUMS, windows_from_end, within
from moga_st.errors import BadInput

CHANNELS = ("inflow", "outflow")
SOURCE = "TaxiBJ (Zhang, Zheng, Qi: Deep spatio-temporal residual networks, AAAI 2017), as samples of 4 and 4 frames"
LICENCE = "none stated; given out by the authors for research, cite the paper"
FPS = 1 / 1800
VAL_SHARE = 10  # one in so many of the training samples, the last ones, validates


def prepare(source: Path, out: Path) -> None:
    """Write the prepared file of TaxiBJ; values are (x + 1) / 2, which is what is scored.

    Args:
        source: The file dataset.npz, or its folder, or one with it as taxibj/.
        out: The file to write.

    Raises:
        BadInput: no such file, or its arrays are not as expected.
    """
    path = source if source.is_file() else within(source, "taxibj", "dataset.npz") / "dataset.npz"
    train, test = read_samples(path, "train"), read_samples(path, "test")
    length = train.shape[1]
    first_val = len(train) - max(1, len(train) // VAL_SHARE)
    # the samples between share frames with those that validate
    last_train = first_val - (length - 1)
    if last_train < 1:
        raise BadInput(f"{path}: {len(train)} training samples are too few to keep some for validation")
    conventions = {
        "mse, mae": FRAME_SUMS,
        "values": "flows scaled to [0, 1]: (x + 1) / 2",
        "split": f"the last of {VAL_SHARE} parts of the training samples validates; the {length - 1} samples before, "
        "which share frames with it, are left out",
        "windows": f"{length} frames; test: every sample of the file",
    }
    parts: dict[Split, np.ndarray] = {"train": train[:last_train], "val": train[first_val:], "test": test}
    clips: dict[Split, list[np.ndarray]] = {split: list(joined(samples)) for split, samples in parts.items()}
    total = check_space(
        out, sum(len(c) for listed in clips.values() for c in listed), (*train.shape[3:], len(CHANNELS)), 4
    )
    with write_clips(
        out, SOURCE, LICENCE, CHANNELS, fps=FPS, standardise=False, conventions=conventions, frames=total
    ) as writer:
        for split, listed in clips.items():
            for i, clip in enumerate(listed):
                starts = windows_from_end(len(clip), length, 1) if split == "test" else None
                writer.add_clip(split, f"{split}/{i}", (f.transpose(1, 2, 0) for f in (clip + 1) / 2), starts=starts)


def read_samples(path: Path, part: str) -> np.ndarray:
    """X and Y of a part, one after the other in time: (n, t, 2, h, w) float32 in [-1, 1].

    Raises:
        BadInput: they are missing, of other shapes, or outside of [-1, 1].
    """
    with storage.open_npz(path) as file:
        names = [f"X_{part}", f"Y_{part}"]
        if missing := [name for name in names if name not in file]:
            raise BadInput(f"{path}: lacks {', '.join(missing)}; expected X_train, Y_train, X_test, Y_test")
        x, y = (file.array(name) for name in names)
    for name, array in zip(names, (x, y), strict=True):
        if array.ndim != 5 or array.shape[2] != len(CHANNELS) or array.dtype.kind not in "f":
            raise BadInput(f"{path}: {name} is {array.dtype} {array.shape}, expected floats (n, 4, 2, 32, 32)")
        if not (np.abs(array) <= 1 + 1e-6).all():  # false for NaN too
            raise BadInput(f"{path}: {name} holds values outside of [-1, 1]")
    if len(x) != len(y) or x.shape[2:] != y.shape[2:]:
        raise BadInput(f"{path}: {names[0]} {x.shape} and {names[1]} {y.shape} do not belong together")
    return np.concatenate([x, y], 1, dtype=np.float32)


def joined(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Recordings (t, c, h, w) whose windows are the samples (n, length, c, h, w), each once and in their order."""
    follows = (samples[1:, :-1] == samples[:-1, 1:]).all(axis=(1, 2, 3, 4))
    ends = [*(np.flatnonzero(~follows) + 1).tolist(), len(samples)]
    first = 0
    for end in ends:
        yield np.concatenate([samples[first], samples[first + 1 : end, -1]])
        first = end
