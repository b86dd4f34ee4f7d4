"""The contract between the engine and a task: all that the engine knows of videos, poses or images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.config import Config
from moga_st.errors import BadInput
from moga_st.scores import Scores
from moga_st.spec import InputSpec

Split = Literal["val", "test"]


@dataclass(frozen=True)
class Setting:
    """What a task is told when it is built."""

    device: torch.device
    data_root: Path
    seed: int = 0
    batch_size: int = 1
    """Examples a batch over all ranks; ``fetch`` and ``batch`` give this rank's share."""


class Example(Protocol):
    """One example with what a network made of it: data, which :mod:`moga_st.draw` and the report render."""

    @property
    def name(self) -> str:
        """Short, for a file: best, median, worst."""
        ...

    @property
    def title(self) -> str: ...

    @property
    def key(self) -> str:
        """Which one of its split it is: another network's :meth:`Task.examples` finds it again by this."""
        ...

    def save(self, stem: Path) -> list[Path]:
        """Write pictures that begin with the path ``stem``; returns them."""
        ...


class Task(Protocol):
    """One kind of work: data, loss and evaluation.

    ``fetch`` and ``batch`` are pure functions of (seed, index): choices are drawn for the global batch and then sliced
    by rank, so any number of processes sees the same data and resuming needs no loader state.
    """

    spec: InputSpec
    """What the data give a network and want of it."""
    monitor: str
    """The metric by which the best checkpoint is chosen; lower is better."""
    data_fingerprint: str
    """Identifies the data; a run is only ever resumed on the same."""
    facts: dict[str, Any]
    """Data source, protocol and conventions in plain JSON, for every record."""

    def fetch(self, index: int) -> Any:
        """What batch ``index`` needs from a disk: tensors on the CPU, or None where nothing is read.  It runs in a
        thread of its own, some batches ahead, and may wait."""
        ...

    def batch(self, index: Tensor, fetched: Any) -> Any:
        """Batch ``index`` (int64, no dimensions, on the device), made of ``fetched``, which is on the device by now.
        It waits for nothing, so that it can be captured."""
        ...

    def loss(self, net: nn.Module, batch: Any, step: Tensor) -> Tensor:
        """What update ``step`` (int64 on the device) minimises."""
        ...

    def evaluate(self, net: nn.Module, split: Split = "val") -> Scores: ...

    def examples(self, net: nn.Module, split: Split = "test", keys: Sequence[str] = ()) -> list[Example]:
        """The best, the median and the worst of some examples; or else those that ``keys`` name.

        Raises:
            BadInput: a key of none.
        """
        ...

    # games(net, count, ...) -> list[Game]: of test inputs, where there are interactions to measure


@runtime_checkable
class SequenceTask(Task, Protocol):
    """A task whose examples are sequences of frames, which can be written to a file."""

    def sequences(self, split: Literal["train"] | Split, first: int, last: int) -> Tensor:
        """Sequences number ``first`` to ``last`` - 1: (b, t, c, h, w), (value - mean) / std of the task's spec."""
        ...


@dataclass(frozen=True)
class TaskConfig(Config, rooms=("moga_st.tasks",)):
    """Describes a task; ``build`` loads its data onto the device."""

    def build(self, setting: Setting) -> Task:
        raise NotImplementedError


def at_least_1(config: Any, *names: str) -> None:
    """Raise BadInput for a field below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise BadInput(f"task.{name}: expected at least 1, got {getattr(config, name)}")


def spread(total: int, count: int) -> list[int]:
    """``count`` numbers below ``total``, evenly over all; all of them where there are fewer."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).round().astype(int)).tolist()


def number_of(key: str, count: int) -> int:
    """The number that a key is, of ``count`` that there are.

    Raises:
        BadInput: it is none of them.
    """
    if not key.isdecimal() or int(key) >= count:
        raise BadInput(f"example {key!r}: expected a number below {count}")
    return int(key)


def announce(task: Task) -> list[str]:
    """What a task works on, a line each: its facts without the standing conventions and protocol."""
    shown = {k: v for k, v in task.facts.items() if not isinstance(v, dict)}
    return [f"{name.replace('_', ' ')}: {value}" for name, value in shown.items()]


class OwnLoss(nn.Module):
    """A network as its own training loss, so that what wraps a network (torch.compile, DDP) wraps that too."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Tensor:
        return self.net.training_loss(*inputs)  # type: ignore[operator]


def with_own_loss(net: nn.Module) -> nn.Module:
    """What training calls: ``net``, or the loss that it brings, ``training_loss(past, future, step)`` (scheduled
    sampling, auxiliary terms)."""
    return OwnLoss(net) if hasattr(net, "training_loss") else net


def own_loss(called: nn.Module, *inputs: Any) -> Tensor | None:
    """The network's own loss; None where it has none and the task's counts.  ``called`` is what training calls."""
    inner = getattr(called, "_orig_mod", called)  # torch.compile's wrapper
    inner = inner.module if isinstance(inner, nn.parallel.DistributedDataParallel) else inner
    return called(*inputs) if isinstance(inner, OwnLoss) else None
