"""The folder of a run: what is saved, what is logged, and how a run is found again."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from moga_st import checkpoint, dist, pretrained, storage
from moga_st.config import ModelConfig
from moga_st.engine.config import RunConfig
from moga_st.errors import BadInput, RunFailed
from moga_st.record import provenance
from moga_st.spec import InputSpec
from moga_st.tasks.task import Task


@dataclass
class RunState:
    """The counters of a run, as a checkpoint has them."""

    REQUIRED: ClassVar = frozenset({"step", "seconds", "best", "best_step", "loss_sum", "loss_count", "data"})

    data: str
    """Fingerprint of the data that it is trained on."""
    step: int = 0
    """Updates done."""
    seconds: float = 0.0
    """Of training, over all sessions."""
    best: float | None = None
    """The best validation score so far."""
    best_step: int | None = None
    loss_sum: float = 0.0
    """Of the losses since the last line of the log."""
    loss_count: int = 0
    precision: str = ""
    """What the run computes in; an older run's is its config's."""
    steps: int = 0
    """Updates of the whole run; an older run's are its config's."""


def run_folder(config: RunConfig, runs: Path, spec: InputSpec | None = None) -> Path:
    """The folder of the run that ``config`` describes: the one below ``runs``/recipe whose run.json holds the same
    config, whichever fields it names, or else a new one, labelled with the config's digest.

    Args:
        spec: the data's; with it, what one config leaves open may be written out in the other.

    Raises:
        BadInput: the folder of that label holds another config.
    """
    folder = runs / config.name / config.digest()
    others = [p for p in sorted((runs / config.name).glob("*/run.json")) if p.parent != folder]
    for path in ([folder / "run.json"] if (folder / "run.json").exists() else []) + others:
        try:
            saved = RunConfig.from_dict(storage.read_json(path)["config"])
        except (BadInput, ValueError, KeyError, TypeError, OSError):  # another version's, or damaged: not this run
            saved = None
        # as JSON: a recipe that was loaded twice has two classes of one name
        if saved is not None and _fitted(saved, spec).to_dict() == _fitted(config, spec).to_dict():
            return path.parent
        if path.parent == folder:
            raise BadInput(f"{path}: holds another config, or none that can be read; restore a copy, or move it away")
    return folder


def _fitted(config: RunConfig, spec: InputSpec | None) -> RunConfig:
    return config if spec is None else dataclasses.replace(config, model=config.model.fit(spec))


class Run:
    """The folder of one run; only rank 0 writes.  ``model`` is the run's, fitted to the data."""

    def __init__(self, folder: Path, config: RunConfig, task: Task, net: nn.Module, model: ModelConfig):
        self.folder, self.config, self.task, self.model = folder, config, task, model
        self.parameters = sum(p.numel() for p in net.parameters())
        self.device = next(net.parameters()).device
        self.main = dist.rank() == 0
        self.lock = self._claim() if self.main else None

    def _claim(self) -> BinaryIO:
        """Claim the folder for this process: two runs in one would overwrite each other's checkpoints."""
        with full_disk(self.folder):
            storage.make_folder(self.folder.parents[1], self.folder.parent.name, self.folder.name)
            try:
                return storage.lock_file(self.folder / ".lock")
            except BlockingIOError as error:
                raise BadInput(
                    f"{self.folder}: this run is going on in another process; wait for it or stop it"
                ) from error

    def resume(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> RunState:
        """Load last.pt if there is one; returns the run's counters."""
        try:
            return self._load(net, average, optimiser)
        except BaseException:
            if self.lock is not None:
                self.lock.close()
            raise

    def _load(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> RunState:
        path = self.folder / "last.pt"
        found = float(path.exists())
        if dist.max_over_ranks(found, self.device) != -dist.max_over_ranks(-found, self.device):
            raise BadInput(f"{path}: not every process finds it; the runs' folder must be one that all nodes share")
        if not found:
            return RunState(data=self.task.data_fingerprint)
        saved = checkpoint.load(path)
        parts = {"net", "optimiser", "state"} | ({"average"} if average is not net else set())
        if not parts <= saved.keys() or not saved["state"].keys() >= RunState.REQUIRED:
            raise BadInput(f"{path}: not a checkpoint of a training run; remove it or restore a copy")
        checkpoint.load_exactly(net, saved["net"], path)
        if saved["state"]["data"] != self.task.data_fingerprint:
            raise BadInput(
                f"{self.folder} was trained on other data ({saved['state']['data']}) than what is found now "
                f"({self.task.data_fingerprint}); run.json says which; give the same data root, or another runs' folder"
            )
        if average is not net:
            checkpoint.load_exactly(average, saved["average"], path)
        # its rates and decays are this session's own: where they live depends on the runtime
        checkpoint.load_optimiser(optimiser, saved["optimiser"], path)
        state = RunState(**saved["state"])
        if not (self.folder / "best.safetensors").exists():
            state.best = None  # somebody removed it: the next validation exports again
        return state

    def save(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, state: RunState) -> None:
        content = {"net": net.state_dict(), "optimiser": checkpoint.optimiser_state(optimiser)}
        content["state"] = dataclasses.asdict(state)
        if average is not net:
            content["average"] = average.state_dict()
        with full_disk(self.folder):
            checkpoint.save(self.folder / "last.pt", content, keep=True)
            # the record of what is in last.pt must not lag behind it
            self._write_run_json(state)

    def export(self, net: nn.Module, state: RunState) -> None:
        if self.main:
            made_by = provenance(self.device)
            if made_by["git"]:  # weights are given away: they say whether there were changes, not which
                made_by["git"] = {"commit": made_by["git"]["commit"], "clean": not made_by["git"]["diff"]}
            about = {
                "run": self.config.to_dict(),
                **dataclasses.asdict(state),
                "facts": self.task.facts,
                "made_by": made_by,
            }
            with full_disk(self.folder):
                path = self.folder / "best.safetensors"
                usual = getattr(self.task, "usual", None)  # what only tasks on anomalies have
                pretrained.export_weights(path, net, self.model, about, spec=self.task.spec, usual=usual)

    @contextmanager
    def open(self, step: int) -> Iterator[None]:
        """Open the logs, without the lines that a killed session wrote after its last checkpoint."""
        if self.lock is None:
            yield
            return
        with full_disk(self.folder):  # closing a file writes what is left, so this holds to the end
            path = self.folder / "metrics.jsonl"
            kept = [line for line in read_jsonl(path) if line["step"] <= step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            storage.write_text(path, text)
            self.sessions = [*self._sessions(), {"argv": sys.argv, "from_step": step, **provenance(self.device)}]
            if step == 0:
                self._write_run_json(RunState(data=self.task.data_fingerprint))
            # a name that nobody can have laid a link at
            new = {"filename_suffix": f".{os.urandom(6).hex()}", "purge_step": step + 1}
            board = SummaryWriter(storage.make_folder(self.folder, "tensorboard"), **new)
            with self.lock, storage.open_log(path) as self.jsonl, board as self.board:
                yield

    def log(self, step: int, values: dict[str, float], seconds: float) -> None:
        if self.main:
            with full_disk(self.folder):
                finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
                self.jsonl.write(json.dumps({"step": step, "seconds": round(seconds, 3), **finite}) + "\n")
                self.jsonl.flush()
                for name, value in values.items():
                    self.board.add_scalar(name, value, step)

    def _sessions(self) -> list[dict[str, Any]]:
        path = self.folder / "run.json"
        try:
            return storage.read_json(path)["sessions"] if path.exists() else []
        except (ValueError, KeyError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); restore a copy, or remove it") from error

    def _write_run_json(self, state: RunState) -> None:
        content = {
            "config": self.config.to_dict(),
            "facts": self.task.facts,
            "model": self.model.to_dict(),
            "parameters": self.parameters,
            "state": dataclasses.asdict(state),
            "sessions": self.sessions,
        }
        storage.write_json(self.folder / "run.json", content)


def raise_if_bad(bad_step: torch.Tensor, folder: Path) -> None:
    """Raise RunFailed on every rank if the loss of any update so far, on any rank, was not finite."""
    step = int(dist.max_over_ranks(bad_step.item(), bad_step.device))
    if step >= 0:
        raise RunFailed(failure("the loss is not finite", step + 1, folder))


def failure(what: str, step: int, folder: Path) -> str:
    last = folder / "last.pt"
    kept = f"{last} keeps the last good state" if last.exists() else "nothing had been saved yet"
    return (
        f"update {step}: {what}; {kept}. Lower the learning rate (optim.lr), clip gradients "
        "(optim.clip_norm) or train in float32 (precision)"
    )


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; a last line cut short by a kill or a full disk is left out."""
    lines = []
    text = storage.read_text(path, "replace").splitlines() if path.exists() else []
    for number, line in enumerate(text, 1):
        try:
            lines.append(_log_line(line))
        except BadInput as error:
            if number == len(text):
                return lines[: number - 1]
            raise BadInput(f"{path}: line {number} is no log line; mend it, or move the file away") from error
    return lines


def _log_line(line: str) -> dict[str, Any]:
    """A line of the log: an object of a step and numbers.

    Raises:
        BadInput: it is something else.
    """
    content = storage.parse_json(line.encode("utf-8", "replace"), "log")
    if not isinstance(content, dict) or type(content.get("step")) is not int:
        raise BadInput("no log line")
    return content


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn a failed write into RunFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST):
            raise BadInput(f"{folder} cannot be written ({error}); name another folder", argument="runs") from error
        raise RunFailed(
            f"{folder} cannot be written: {error}. What was saved before is whole; free some space and repeat "
            "the command"
        ) from error
