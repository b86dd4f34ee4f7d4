"""The contract between the engine and a task: all that the engine knows of videos or poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from moga_st.config import Config

Split = Literal["val", "test"]


@dataclass(frozen=True)
class Setting:
    """What a task is told when it is built."""

    device: torch.device
    data_root: Path
    seed: int = 0
    batch_size: int = 1
    """Examples a batch over all ranks; ``batch`` returns this rank's share."""


class Task(Protocol):
    """One kind of work: data, loss and evaluation.

    ``batch`` is a pure function of (seed, index): choices are drawn for the global batch and then sliced
    by rank, so any number of processes sees the same data and resuming needs no loader state.  ``index`` is a
    number on the device (int64, no dimensions), and neither ``batch`` nor ``loss`` waits for the device.
    """

    monitor: str
    """The key of ``evaluate`` by which the best checkpoint is chosen; lower is better."""
    data_fingerprint: str
    """Identifies the data; a run is only ever resumed on the same."""
    facts: dict[str, Any]
    """Data source, protocol and conventions in plain JSON, for every record."""

    def batch(self, index: Tensor) -> Any: ...

    def loss(self, net: nn.Module, batch: Any) -> Tensor: ...

    def evaluate(self, net: nn.Module, split: Split = "val") -> dict[str, float]: ...

    def draw(self, net: nn.Module, folder: Path, split: Split = "test") -> list[Path]:
        """Write pictures of examples into ``folder``; returns their paths."""
        ...


@dataclass(frozen=True)
class TaskConfig(Config, rooms=("moga_st.tasks",)):
    """Describes a task; ``build`` loads its data onto the device."""

    def build(self, setting: Setting) -> Task:
        raise NotImplementedError
