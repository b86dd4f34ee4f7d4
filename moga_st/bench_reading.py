"""How fast examples come from a disk, and whether training waits; beside it windows decoded out of videos."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from moga_st.data.feed import Feed
from moga_st.data.video.clip import Clip
from moga_st.data.video.clips import open_clip, resized
from moga_st.errors import BadInput
from moga_st.tasks.task import Task
from moga_st.timing import timed

WORKERS = 2  # of the DataLoader
BATCHES = 8  # timed, after the first


class RandomWindows(Dataset):
    """What a plain PyTorch program trains on: random windows of a folder's videos, decoded and resized when they are
    asked for; each is (t, 3, h, w) uint8.

    Raises:
        BadInput: no video in the folder is long enough.
    """

    def __init__(self, folder: Path, frames: int, size: tuple[int, int]):
        self.frames, self.size = frames, size
        paths = sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else [folder]
        self.clips: list[Clip] = [clip for clip in map(open_clip, paths) if clip.frames >= frames]
        if not self.clips:
            raise BadInput(f"{folder}: no video in it has {frames} frames")

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, index: int) -> torch.Tensor:
        rng = np.random.default_rng(index)
        clip = self.clips[rng.integers(len(self.clips))]
        start = int(rng.integers(clip.frames - self.frames + 1))
        frames = [torch.from_numpy(f).permute(2, 0, 1) for f in clip.read(start, start + self.frames)]
        if clip.size_px != self.size[::-1]:
            frames = [resized(f, self.size).round().byte() for f in frames]
        return torch.stack(frames)


def loading(task: Task, batch_size: int, videos: Path | None) -> list[dict[str, Any]]:
    """Examples a second of training's reader; beside it, for a task on clips, the windows of a DataLoader with two
    workers on ``videos``.

    Raises:
        BadInput: see :class:`RandomWindows`.
    """
    count = 64 * BATCHES
    with Feed(task.fetch, 0, count + 1) as feed:
        feed.take(0)
        ours = _seconds(lambda: [feed.take(i) for i in range(1, count + 1)]) / count
    rows = [timed("examples read from the disk", batch_size, ours)]
    if videos is not None:
        t, _, height, width = (n or 1 for n in task.spec.shape)
        data = RandomWindows(videos, t + (task.spec.target[0] or 1), (height, width))
        loader = iter(DataLoader(data, batch_size, num_workers=WORKERS))
        next(loader)  # by then the workers have started
        theirs = _seconds(lambda: [next(loader) for _ in range(BATCHES)]) / BATCHES
        del loader
        row = timed(f"windows decoded by a DataLoader, {WORKERS} workers", batch_size, theirs)
        rows[0] |= {"ratio": theirs / ours, "against": row["what"]}
        rows.append(row)
    return rows


def waiting(task: Task, batch_size: int, update: Callable[[int, list[Any]], object], updates: int) -> dict[str, Any]:
    """A row whose ratio is the share of their time that updates wait for data.

    Args:
        task: gives the data.
        batch_size: of an update.
        update: trains on a batch: its number, and what was fetched for it.
        updates: how many, after one to warm up.
    """
    with Feed(task.fetch, 0, updates + 1) as feed:
        update(0, [feed.take(0)])
        before = feed.waited_s
        numbers = itertools.count(1)

        def train() -> None:
            for number in itertools.islice(numbers, updates):
                update(number, [feed.take(number)])

        seconds = _seconds(train)
        share = (feed.waited_s - before) / seconds
    row = timed("training, time spent waiting for data", batch_size, seconds / updates)
    return row | {"ratio": share, "against": "the time of training"}


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
