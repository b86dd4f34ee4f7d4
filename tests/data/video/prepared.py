"""What a prepared file holds, read back for the converters' tests."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np


class Part(NamedTuple):
    frames: np.ndarray  # (n, h, w, c)
    first: list[int]
    name: list[str]
    start: list[int] | None
    time_s: np.ndarray | None

    def clip(self, i: int) -> np.ndarray:
        return self.frames[self.first[i] : self.first[i + 1]]


def read(path: Path) -> tuple[dict[str, Any], dict[str, Part]]:
    """Attributes, and the parts by their names."""
    with h5py.File(path) as file:
        about: dict[str, Any] = dict(file.attrs)
        about["conventions"] = json.loads(about["conventions"])
        parts = {}
        for split in ("train", "val", "test"):
            group: Any = file[split]
            parts[split] = Part(
                group["frames"][()],
                group["first"][()].tolist(),
                [n.decode() for n in group["name"][()]],
                group["start"][()].tolist() if "start" in group else None,
                group["time_s"][()] if "time_s" in group else None,
            )
    return about, parts
