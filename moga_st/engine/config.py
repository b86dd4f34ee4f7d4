"""What a run computes, and where and how fast."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moga_st import pretrained
from moga_st.config import Config, ModelConfig
from moga_st.errors import BadInput
from moga_st.optim import OptimConfig
from moga_st.tasks.task import TaskConfig


@dataclass(frozen=True)
class RunConfig(Config, kind="run", was=("moga_st.engine:RunConfig",), rooms=("moga_st.engine.config",)):
    """All that decides what a run computes.  A recipe is a function that returns one.

    Raises:
        BadInput: a number is out of range, or the name is none for a folder.
    """

    name: str
    """Name of the recipe."""
    task: TaskConfig
    """Data, loss and evaluation."""
    model: ModelConfig
    """The network."""
    optim: OptimConfig
    """Optimiser, schedule, clipping and weight average."""
    steps: int
    """Updates; not heeded where `minutes` is given."""
    batch_size: int = 16
    """Examples an update, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts a batch is computed in, one after the other, to save memory; batch statistics are a part's."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """bfloat16: autocast, with float32 weights, gradients and optimiser. auto: bfloat16 where the hardware multiplies
    it and a short trial finds it faster (never on CPUs with AMX), else float32; the run keeps what it began with."""
    shards: int = 1
    """Equal parts of a batch that a CPU computes at once, each on a core of its own, with the statistics of the whole
    batch. The bits depend on this number, not on that of the cores. Other devices, and several processes, compute
    their batch whole, as 1 does."""
    validate_every: int = 1000
    """Updates between validations; the best validation picks the exported weights."""
    seed: int = 0
    """Seed of the weights, the training data and everything else."""
    minutes: float | None = None
    """Time that the training may take, validations included: at its first start a run measures itself on this machine
    and sets its number of updates, to which the schedule keeps and which it never changes again."""
    init: str | None = None
    """Weights to start from: a weights file, a run's folder, or the name of weights in the package."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise BadInput(f"name {self.name!r}: expected letters, digits, '.', '_' and '-': it names a folder")
        for name in ("steps", "batch_size", "accumulate", "shards", "validate_every"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise BadInput(f"minutes: expected more than 0, got {self.minutes}")
        if self.batch_size % self.accumulate:
            raise BadInput(f"batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}")
        part = self.batch_size // self.accumulate
        if part % self.shards:
            raise BadInput(f"batch_size / accumulate = {part} is not divisible by {self.shards} shards")


def config_of_weights(about: dict[str, Any], source: Path, root: Path) -> RunConfig:
    """The config that weights were trained by, which a stranger may have written: its data lie in the data root.

    Args:
        about: what the weights file says of itself.
        source: the file, for messages.
        root: the data root.

    Raises:
        BadInput: it names no config, one of an unknown kind, sizes beyond all reason, or data elsewhere.
    """
    run = about.get("run")
    if not isinstance(run, dict):
        raise BadInput(f"{source}: does not say which task it belongs to")
    try:
        pretrained.check_numbers(run.get("task"), "task")
        config = RunConfig.from_dict(run)
    except (BadInput, TypeError, ValueError, AttributeError, RecursionError) as error:
        # a recipe of the user's own, perhaps, whose classes only its file defines
        raise BadInput(f"{source}: its config cannot be used: {error}") from error
    base = os.path.normpath(root.absolute())
    for where, path in config.task.paths():
        place = os.path.normpath(root.absolute() / path)
        if os.path.commonpath([base, place]) != base:
            raise BadInput(
                f"{source}: its {where} is {path}, outside of the data root {root}, where nothing is read on the word "
                "of a weights file; if these data are yours, give their folder as the data root"
            )
    return config


@dataclass(frozen=True)
class Runtime:
    """Where and how a run executes; none of it is part of the run's identity."""

    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""
    runs: Path = Path("runs")
    """Folder that holds the runs."""
    compile: bool = False
    """torch.compile the network."""
    cuda_graph: bool = False
    """Capture the whole update as a CUDA graph and replay it: no launch overhead (one process; optim is compiled)."""
    log_every: int = 20
    """Updates between lines of metrics.jsonl."""
    save_every: float = 60.0
    """Seconds between checkpoints: what a kill can cost at most."""

    def __post_init__(self) -> None:
        if self.log_every < 1:
            raise BadInput(f"log_every: expected at least 1, got {self.log_every}")
