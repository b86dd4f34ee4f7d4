"""Windows of frames out of a prepared clips file, by number: what training and evaluation draw from.

Frames lie in the file as they are, so a window is read straight into the batch from where HDF5 says that its chunks
begin. That needs no lock of HDF5's, whatever thread or forked process asks.

Shape legend: ``b`` windows, ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

import itertools
import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moga_st.data.draws import uniform
from moga_st.data.video.prepared_clips import SPLITS, Split, read_attributes
from moga_st.errors import BadInput
from moga_st.storage import open_hdf5, read_at


class ClipWindows:
    """A prepared file as windows of ``frames_in`` + ``frames_out`` frames, which never cross from one clip to the next.

    In training and validation any frame can begin a window: of few windows, chance would choose the best checkpoint.
    In test windows follow each other by ``frames_out`` frames, so that every frame is predicted once. Where the file
    lists its windows, those are taken, in every split.

    Raises:
        BadInput: no such file, not a prepared one, damaged, or with no clip in a split that is long enough.
    """

    def __init__(self, path: Path, frames_in: int, frames_out: int, seed: int = 0):
        about = read_attributes(path)
        self.path, self.seed = path, seed
        self.frames_in, self.frames_out = frames_in, frames_out
        self.source, self.licence = str(about["source"]), str(about["licence"])
        self.fingerprint = str(about["fingerprint"])
        self.channels, self.unit = tuple(map(str, about["channels"])), str(about["unit"])
        self.fps = None if math.isnan(about["fps"]) else float(about["fps"])
        standardise = bool(about["standardise"])
        self.mean = tuple(np.atleast_1d(about["mean"]).tolist()) if standardise else (0.0,)
        self.std = tuple(np.atleast_1d(about["std"]).tolist()) if standardise else (1.0,)
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        self._orders: dict[int, np.ndarray] = {}
        try:
            with open_hdf5(path) as file:
                self._parts = {split: _Part(file[split]) for split in SPLITS}
                self._starts = {split: self._windows(split, file[split]) for split in SPLITS}
        except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
            raise BadInput(f"{path}: damaged ({error}); prepare it again with `moga-st data prepare`") from error
        self.size: tuple[int, int] = self._parts["train"].shape[:2]
        counts = ", ".join(f"{s} {self._parts[s].clips} clips, {self.count(s):,} windows" for s in SPLITS)
        self.facts: dict[str, Any] = {"data": f"{path.name}: {self.source}", "licence": self.licence, "parts": counts}
        if about["conventions"]:
            self.facts["data_conventions"] = about["conventions"]

    def count(self, split: Split) -> int:
        """Windows to draw from, in training, or to score on."""
        return len(self._starts[split])

    def fetch(self, split: Split, numbers: np.ndarray) -> Tensor:
        """Windows (b, t, c, h, w) as they are stored, uint8 or float32, on the CPU.

        Args:
            split: which part.
            numbers: (b,) int64. In val and test, 0 to ``count`` - 1 as they lie in the file. In training, any number
                from 0 on: each run of ``count`` numbers is every window once, in an order of its own that the seed
                gives.

        Raises:
            BadInput: the file ends early.
        """
        part = self._parts[split]
        windows = self._shuffled(numbers) if split == "train" else numbers
        out = np.empty((len(numbers), self.frames_in + self.frames_out, *part.shape), part.dtype)
        for at, start in zip(out, self._starts[split][windows].tolist(), strict=True):
            self._read(at, part.where[start : start + len(at)])
        return torch.from_numpy(out).permute(0, 1, 4, 2, 3)

    def frames(self, split: Split, numbers: Tensor, fetched: Tensor) -> Tensor:  # noqa: ARG002
        """What :meth:`fetch` gave as a network sees it: (value - mean) / std, float32; uint8 values are / 255."""
        frames = fetched.contiguous().float()
        if fetched.dtype == torch.uint8:
            frames = frames / 255.0
        if self.std == (1.0,) and self.mean == (0.0,):
            return frames
        mean, std = (torch.tensor(v, device=frames.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (frames - mean) / std

    def times(self, split: Split, numbers: np.ndarray) -> np.ndarray | None:
        """Dates (b, t) of the frames of windows, seconds since 1970-01-01 UTC, numbered as in :meth:`fetch`; None where
        the file does not know them."""
        time_s = self._parts[split].time_s
        if time_s is None:
            return None
        windows = self._shuffled(numbers) if split == "train" else numbers
        return time_s[self._starts[split][windows][:, None] + np.arange(self.frames_in + self.frames_out)]

    def step_s(self) -> float:
        """Seconds between two frames of the training part: the median."""
        time_s = self._parts["train"].time_s
        return float(np.median(np.diff(time_s))) if time_s is not None and len(time_s) > 1 else 1.0

    def training_frames(self, at_once: int = 256) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All training frames in pieces: times (n,), zero where they are unknown, and values (n, c, h, w) in the file's
        unit."""
        part = self._parts["train"]
        time_s = np.zeros(len(part.where)) if part.time_s is None else part.time_s
        for first in range(0, len(part.where), at_once):
            where = part.where[first : first + at_once]
            out = np.empty((len(where), *part.shape), part.dtype)
            self._read(out, where)
            yield time_s[first : first + at_once], out.transpose(0, 3, 1, 2)

    def median_frame(self, at_most: int = 64 << 20) -> np.ndarray:
        """The median (c, h, w) of training frames spread over the whole part, 255 of them, or as many as fit into so
        many bytes: the scene without what moves, in the file's unit (uint8 / 255)."""
        part = self._parts["train"]
        size = math.prod(part.shape) * part.dtype.itemsize
        count = max(1, min(255, len(part.where), at_most // size))
        where = part.where[np.linspace(0, len(part.where) - 1, count).round().astype(np.int64)]
        out = np.empty((count, *part.shape), part.dtype)
        for i in range(count):
            self._read(out[i : i + 1], where[i : i + 1])
        middle: Any = np.median(out, axis=0)
        middle = middle.astype(np.float32).transpose(2, 0, 1)
        return middle / 255 if part.dtype == np.uint8 else middle

    def _windows(self, split: Split, group: Any) -> np.ndarray:
        """First frames of a split's windows, (windows,) int64."""
        t = self.frames_in + self.frames_out
        first = group["first"][:]
        if "start" in group:
            start = group["start"][:]
            if start.ndim != 1 or start.dtype.kind not in "iu" or not ((start >= 0) & (start < first[-1])).all():
                raise ValueError(f"the windows of {split} begin outside of its frames")
            end = first[np.searchsorted(first, start, side="right")]  # of the clip that the window is in
            if (start + t > end).any():
                raise BadInput(
                    f"{self.path}: {split} lists {len(start)} windows, of which {int((start + t > end).sum())} are "
                    f"shorter than {t} frames; take fewer frames, or prepare it again for as many"
                )
        else:
            step = self.frames_out if split == "test" else 1
            start = np.concatenate([first[:0], *(np.arange(a, b - t + 1, step) for a, b in itertools.pairwise(first))])
        if len(start) == 0 and len(first) > 1:
            raise BadInput(
                f"{self.path}: no clip of {split} has {self.frames_in} + {self.frames_out} frames, the longest has "
                f"{int(np.diff(first).max())}; take fewer frames, or prepare it again with longer parts"
            )
        return start.astype(np.int64)

    def _shuffled(self, numbers: np.ndarray) -> np.ndarray:
        count = self.count("train")
        rounds, within = np.divmod(numbers, count)
        orders = {}
        for number in np.unique(rounds).tolist():
            known = self._orders.get(number)
            if known is None:
                index = number * count + torch.arange(count)
                known = uniform(self.seed, index, 1)[:, 0].argsort(stable=True).numpy()
            orders[number] = known
        self._orders = orders  # no more than the last batch needed
        return np.array([orders[r][w] for r, w in zip(rounds.tolist(), within.tolist(), strict=True)], np.int64)

    def _read(self, into: np.ndarray, where: np.ndarray) -> None:
        """Frames (t, h, w, c) from their places in the file."""
        size = into[0].nbytes
        runs = np.flatnonzero(np.diff(where) != size) + 1
        view = into.reshape(-1).view(np.uint8).data
        for a, b in zip([0, *runs.tolist()], [*runs.tolist(), len(where)], strict=True):
            done, stop, offset = a * size, b * size, int(where[a]) - a * size
            while done < stop:
                got = read_at(self._file, view[done:stop], offset + done)
                if got == 0:
                    raise BadInput(f"{self.path}: ends early; prepare it again with `moga-st data prepare`")
                done += got


class _Part:
    """One split: where its frames lie in the file."""

    def __init__(self, group: Any):
        data = group["frames"]
        self.clips = len(group["first"]) - 1
        self.shape, self.dtype = data.shape[1:], data.dtype
        if len(self.shape) != 3 or 0 in self.shape or self.dtype not in (np.dtype("u1"), np.dtype("<f4")):
            raise ValueError(f"frames of {self.dtype} {self.shape}, expected uint8 or float32 (n, h, w, c)")
        first = group["first"][:]
        ends = first.ndim == 1 and first.dtype.kind in "iu" and len(first) > 0 and first[0] == 0
        if not ends or (np.diff(first.astype(np.int64)) < 0).any() or first[-1] != len(data):
            raise ValueError(f"the starts of the clips of {group.name} do not fit its {len(data):,} frames")
        size = math.prod(self.shape) * self.dtype.itemsize
        each = data.chunks[0]  # frames of a chunk
        chunks = np.zeros(-(-len(data) // each), np.int64)

        def note(chunk: Any) -> None:
            chunks[chunk.chunk_offset[0] // each] = chunk.byte_offset

        data.id.chunk_iter(note)
        if data.chunks[1:] != self.shape or data.compression is not None or (chunks == 0).any():
            raise ValueError(f"the frames of {group.name} are compressed or not all there")
        self.time_s: np.ndarray | None = group["time_s"][:] if "time_s" in group else None
        if self.time_s is not None and (self.time_s.shape != (len(data),) or self.time_s.dtype.kind != "f"):
            raise ValueError(f"the times of {group.name} do not fit its {len(data):,} frames")
        self.where = (chunks[:, None] + size * np.arange(each)).reshape(-1)[: len(data)]
        """(n,) int64: the byte of the file at which each frame begins."""
