"""The training loop: step, log, validate, checkpoint.  It knows tasks only by their contract.

Read :func:`train` from top to bottom; everything else here serves it.  Two rules make runs exact:

- All randomness of update ``i`` follows from (seed, i): the batch by the task's contract, the rest
  (drop path) from torch's generator, which is seeded anew for every update.  A checkpoint therefore needs
  no generator state, and a resumed run repeats the uninterrupted one to the bit on the CPU.
- What is computed is in :class:`RunConfig`, whose digest names the run's folder; where and how fast is in
  :class:`Runtime` and never changes a result beyond rounding.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from moga_st import checkpoint, dist, optim, pretrained, storage
from moga_st.config import Config, ModelConfig, data_root
from moga_st.device import autocast, setup
from moga_st.errors import BadInput
from moga_st.models import to_device
from moga_st.optim import OptimConfig
from moga_st.record import provenance
from moga_st.tasks.task import Setting, Task, TaskConfig


@dataclass(frozen=True)
class RunConfig(Config, kind="run"):
    """All that decides what a run computes.  A recipe is a function that returns one."""

    name: str
    """Name of the recipe."""
    task: TaskConfig
    """Data, loss and evaluation."""
    model: ModelConfig
    """The network."""
    optim: OptimConfig
    """Optimiser, schedule, clipping and weight average."""
    steps: int
    """Updates."""
    batch_size: int = 16
    """Examples an update, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts a batch is computed in, one after the other, to save memory; batch statistics are a part's."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast, with float32 weights, gradients and optimiser."""
    validate_every: int = 1000
    """Updates between validations; the best validation picks the exported weights."""
    seed: int = 0
    """Seed of the weights, the training data and everything else."""


@dataclass(frozen=True)
class Runtime:
    """Where and how a run executes; none of it is part of the run's identity."""

    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
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


class RunFailed(RuntimeError):
    """The run itself cannot go on; what it saved before is whole."""


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the state has been saved and the same command goes on from it."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def run_folder(config: RunConfig, runs: Path) -> Path:
    """``runs``/recipe/digest of the resolved config: the same config gives the same folder."""
    return runs / config.name / config.digest()


def train(config: RunConfig, runtime: Runtime) -> Path:
    """Train, or go on training, to ``config.steps``; returns the run's folder.

    The folder holds run.json, metrics.jsonl, TensorBoard events, last.pt (with its pieces, see checkpoint.py)
    and best.safetensors.

    Raises:
        BadInput: a field is out of range, or the folder's checkpoint is of other data.
        RunFailed: the loss is not finite, or the disk is full.
        Interrupted: a signal came.
    """
    device = setup(runtime.device)
    check(config, runtime, device)
    task = config.task.build(
        Setting(device, data_root(runtime.data_root), config.seed, config.batch_size // config.accumulate)
    )
    torch.manual_seed(config.seed)
    net = dist.synchronise_batch_norm(to_device(config.model.build(), device), device)
    average = copy.deepcopy(net).requires_grad_(False) if config.optim.ema_decay else net
    optimiser = optim.build(net, config.optim, on_device=runtime.cuda_graph)

    folder = run_folder(config, runtime.runs)
    run = Run(folder, config, task, net)
    state = run.resume(net, average, optimiser)
    done = state["step"]
    net.train()
    parallel = dist.wrap(net, device)
    update = Update(config, task, net, parallel, average, optimiser, runtime)
    update.loss_sum += state["loss_sum"] if run.main else 0.0
    loss_count = state["loss_count"]
    # processes must agree to save or stop; on a GPU that waits for it, so there only when we wait anyway
    agree_every = 1 if dist.world() == 1 or device.type == "cpu" else runtime.log_every
    clock, last_save = Clock(state["seconds"]), time.monotonic()

    def check_finite() -> None:
        raise_if_bad(update.bad_step, folder)
        if not all(torch.isfinite(p).all() for p in net.parameters()):
            raise RunFailed(failure("a weight became infinite or NaN", done, folder))

    def save() -> None:
        nonlocal last_save
        state.update(step=done, seconds=clock.seconds(), loss_count=loss_count)
        state["loss_sum"] = dist.sum_over_ranks(update.loss_sum).item()
        if run.main:
            run.save(net, average, optimiser, state)
        last_save = time.monotonic()

    def validate() -> None:
        scores = task.evaluate(average)
        score = scores[task.monitor]
        if not math.isfinite(score):
            raise RunFailed(failure(f"validation {task.monitor} is {score}", done, folder))
        run.log(done, {f"val/{k}": v for k, v in scores.items() if "/" not in k}, clock.seconds())
        if run.main:
            bar.write(f"step {done}: validation {task.monitor} {score:.4g}", file=sys.stderr)
        if state["best"] is None or score < state["best"]:
            state.update(best=score, best_step=done, step=done, seconds=clock.seconds())
            run.export(average, state)

    with run.open(done), catch_signals() as signals, progress_bar(config, done) as bar:
        if state["best"] is None and done == config.steps:
            validate()
        while done < config.steps:
            update(done)
            loss_count += config.accumulate
            done += 1
            bar.update(config.batch_size)

            if done % runtime.log_every == 0 or done == config.steps:
                raise_if_bad(update.bad_step, folder)
                mean = dist.sum_over_ranks(update.loss_sum).item() / (loss_count * dist.world())
                update.loss_sum.zero_()
                loss_count = 0
                bar.set_postfix(loss=f"{mean:.3g}")
                run.log(done, {"loss": mean, "lr": update.lr}, clock.seconds())
            if done % config.validate_every == 0 or done == config.steps:
                check_finite()
                validate()
                save()
            elif done % agree_every == 0:
                due = time.monotonic() - last_save > runtime.save_every
                if dist.max_over_ranks(float(due or bool(signals)), device):
                    check_finite()
                    save()
            if done % agree_every == 0:
                signum = int(dist.max_over_ranks(float(signals[0] if signals else 0), device))
                if signum:
                    raise Interrupted(signum)
    return folder


class Update:
    """One update: data, forward, backward, clipping, optimiser and weight average.

    It does not wait for the device. What changes from one update to the next (its number, the learning rate, the
    decays) comes to the device in tensors where ``runtime.cuda_graph`` is on, so that the launches of one update,
    captured once, are those of every other.

    Args:
        net, called: the network, and what is called in its place (the same, wrapped for other processes).
        average: the weight average, or ``net`` itself where there is none.
    """

    EAGER = 3  # updates before the capture: what torch sets up at first use must not be in the graph

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        net: nn.Module,
        called: nn.Module,
        average: nn.Module,
        optimiser: torch.optim.Optimizer,
        runtime: Runtime,
    ):
        device = next(net.parameters()).device
        self.config, self.task, self.net, self.average, self.optimiser = config, task, net, average, optimiser
        self.ddp = called if isinstance(called, nn.parallel.DistributedDataParallel) else None
        self.called: Any = torch.compile(called) if runtime.compile else called
        self.lr = 0.0
        self.loss_sum = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        """First update whose loss was not finite, or -1: read only where we wait anyway."""
        self._number = torch.zeros((), dtype=torch.int64, device=device)
        self._rate: float | torch.Tensor = torch.zeros((), device=device) if runtime.cuda_graph else 0.0
        # torch's uncompiled optimisers take a changing beta from the host; a compiled one reads it on the device
        self._optimise: Any = torch.compile(optimiser.step) if runtime.cuda_graph else optimiser.step
        self._eager_left = self.EAGER
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device) if runtime.cuda_graph else None

    def __call__(self, number: int) -> None:
        """Run update ``number`` (from 0)."""
        optimiser, config = self.optimiser, self.config
        self.lr, beta1 = optim.schedule(config.optim, number, config.steps)
        optim.set_schedule(optimiser, self.lr, beta1)
        rate = optim.average_rate(config.optim.ema_decay, number)
        self._rate = self._rate.fill_(rate) if isinstance(self._rate, torch.Tensor) else rate
        self._number.fill_(number)
        torch.manual_seed(seed_of(config.seed, number))
        if self._stream is None:
            self.body()
        elif self._eager_left:
            self._eager_left -= 1
            with on_stream(self._stream):  # the capture's: autograd remembers the one that a weight was first used on
                self.body()
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph, stream=self._stream):
                    self.body()
            self._graph.replay()

    def body(self) -> None:
        """What is captured: no branch, number or address in it depends on which update it is."""
        config, device = self.config, self._number.device
        for part in range(config.accumulate):
            last = part == config.accumulate - 1
            # gradients travel between processes once an update
            with nullcontext() if last or self.ddp is None else self.ddp.no_sync():
                with autocast(config.precision, device):
                    loss = self.task.loss(self.called, self.task.batch(self._number * config.accumulate + part))
                (loss / config.accumulate).backward()
            loss = loss.detach()
            bad = (self.bad_step < 0) & ~torch.isfinite(loss)
            self.bad_step.copy_(torch.where(bad, self._number, self.bad_step))
            self.loss_sum += loss
        if config.optim.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), config.optim.clip_norm)
        self._optimise()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not self.net:
            optim.update_average(self.average, self.net, self._rate)


@contextmanager
def on_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on ``stream``, after all that was asked for before and before all that is asked for after."""
    outside = torch.cuda.current_stream(stream.device)
    stream.wait_stream(outside)
    with torch.cuda.stream(stream):
        yield
    outside.wait_stream(stream)


def check(config: RunConfig, runtime: Runtime, device: torch.device) -> None:
    """Raise BadInput for a field that is out of range."""
    o = config.optim
    shares = {"optim.ema_decay": o.ema_decay, "optim.warmup": o.warmup, "optim.betas": max(o.betas)}
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise BadInput(f"{name}: expected a value in [0, 1), got {value}")
    if not (o.lr > 0 and o.clip_norm >= 0 and o.weight_decay >= 0):
        raise BadInput("optim: lr must be positive, clip_norm and weight_decay not negative")
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        raise BadInput(f"name {config.name!r}: expected letters, digits, '.', '_' and '-': it names a folder")
    if runtime.log_every < 1:
        raise BadInput(f"log_every: expected at least 1, got {runtime.log_every}")
    if runtime.cuda_graph and (device.type != "cuda" or dist.world() > 1):
        raise BadInput("cuda_graph: needs one process on a CUDA device; leave --cuda-graph out")
    for name in ("steps", "batch_size", "accumulate", "validate_every"):
        if getattr(config, name) < 1:
            raise BadInput(f"{name}: expected at least 1, got {getattr(config, name)}")
    if config.batch_size % config.accumulate:
        raise BadInput(f"batch_size {config.batch_size} is not divisible by accumulate {config.accumulate}")
    if (config.batch_size // config.accumulate) % dist.world():
        raise BadInput(
            f"batch_size / accumulate = {config.batch_size // config.accumulate} is not divisible by "
            f"{dist.world()} processes"
        )


def seed_of(seed: int, index: int) -> int:
    """A generator seed for update ``index`` of the run.  Hashed, since torch's CPU generator uses 32 bits of it."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {index}".encode(), digest_size=4).digest(), "little")


def raise_if_bad(bad_step: torch.Tensor, folder: Path) -> None:
    """Raise RunFailed on every rank if the loss of any update so far, on any rank, was not finite."""
    step = int(dist.max_over_ranks(bad_step.item(), bad_step.device))
    if step >= 0:
        raise RunFailed(failure("the loss is not finite", step + 1, folder))


def failure(what: str, step: int, folder: Path) -> str:
    last = folder / "last.pt"
    kept = f"{last} keeps the last good state" if last.exists() else "nothing had been saved yet"
    return (
        f"update {step}: {what}; {kept}. Lower the learning rate (--optim.lr), clip gradients "
        "(--optim.clip-norm 1) or train in float32 (--precision float32)"
    )


class Clock:
    """Seconds of training over all sessions of a run."""

    def __init__(self, before: float):
        self.before, self.start = before, time.monotonic()

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start


class Run:
    """The folder of one run; only rank 0 writes."""

    def __init__(self, folder: Path, config: RunConfig, task: Task, net: nn.Module):
        self.folder, self.config, self.task = folder, config, task
        self.parameters = sum(p.numel() for p in net.parameters())
        self.device = next(net.parameters()).device
        self.main = dist.rank() == 0
        if self.main:
            self._lock()

    def _lock(self) -> None:
        """Claim the folder for this process: two runs in one would overwrite each other's checkpoints."""
        with full_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it, however the process ends
        except OSError as error:
            self.lock.close()
            raise BadInput(f"{self.folder}: this run is going on in another process; wait for it or stop it") from error

    def resume(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """Load last.pt if there is one; returns the run's counters."""
        try:
            return self._load(net, average, optimiser)
        except BaseException:
            if self.main:
                self.lock.close()
            raise

    def _load(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        state: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": None, "best_step": None}
        state |= {"loss_sum": 0.0, "loss_count": 0}  # since the last line of the log
        state["data"] = self.task.data_fingerprint
        path = self.folder / "last.pt"
        found = float(path.exists())
        if dist.max_over_ranks(found, self.device) != -dist.max_over_ranks(-found, self.device):
            raise BadInput(f"{path}: not every process finds it; --runs must be a folder that all nodes share")
        if not found:
            return state
        saved = checkpoint.load(path)
        parts = {"net", "optimiser", "state"} | ({"average"} if average is not net else set())
        if not parts <= saved.keys() or not state.keys() <= saved["state"].keys():
            raise BadInput(f"{path}: not a checkpoint of a training run; remove it or restore a copy")
        checkpoint.load_exactly(net, saved["net"], path)
        if saved["state"]["data"] != state["data"]:
            raise BadInput(
                f"{self.folder} was trained on other data ({saved['state']['data']}) than what is found now "
                f"({state['data']}); run.json says which; give the same --data-root, or another --runs"
            )
        if average is not net:
            checkpoint.load_exactly(average, saved["average"], path)
        # rates and decays are this session's own: where they live depends on the runtime
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict(saved["optimiser"] | {"param_groups": groups})
        state = saved["state"]
        if not (self.folder / "best.safetensors").exists():
            state["best"] = None  # somebody removed it: the next validation exports again
        return state

    def save(self, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        content = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "state": state}
        if average is not net:
            content["average"] = average.state_dict()
        with full_disk(self.folder):
            checkpoint.save(self.folder / "last.pt", content)
            # the record of what is in last.pt must not lag behind it
            self._write_run_json(state)

    def export(self, net: nn.Module, state: dict[str, Any]) -> None:
        if self.main:
            made_by = provenance(self.device)
            if made_by["git"]:  # weights are given away: they say whether there were changes, not which
                made_by["git"] = {"commit": made_by["git"]["commit"], "clean": not made_by["git"]["diff"]}
            about = {"run": self.config.to_dict(), **state, "facts": self.task.facts, "made_by": made_by}
            with full_disk(self.folder):
                pretrained.export_weights(self.folder / "best.safetensors", net, self.config.model, about)

    @contextmanager
    def open(self, step: int) -> Iterator[None]:
        """Open the logs, without the lines that a killed session wrote after its last checkpoint."""
        if not self.main:
            yield
            return
        with full_disk(self.folder):  # closing a file writes what is left, so this holds to the end
            path = self.folder / "metrics.jsonl"
            kept = [line for line in read_jsonl(path) if line["step"] <= step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            storage.write_atomically(path, lambda part: part.write_text(text))
            self.sessions = [*self._sessions(), {"argv": sys.argv, "from_step": step, **provenance(self.device)}]
            if step == 0:
                self._write_run_json({"step": 0})
            board = SummaryWriter(self.folder / "tensorboard", purge_step=step + 1)
            with self.lock, path.open("a") as self.jsonl, board as self.board:
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
            return json.loads(path.read_text())["sessions"] if path.exists() else []
        except (ValueError, KeyError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); restore a copy, or remove it") from error

    def _write_run_json(self, state: dict[str, Any]) -> None:
        content = {
            "config": self.config.to_dict(),
            "facts": self.task.facts,
            "parameters": self.parameters,
            "state": state,
            "sessions": self.sessions,
        }
        text = json.dumps(content, indent=2)
        storage.write_atomically(self.folder / "run.json", lambda part: part.write_text(text))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; a last line cut short by a kill or a full disk is left out."""
    lines = []
    text = path.read_text(errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(text, 1):
        try:
            lines.append(json.loads(line))
            lines[-1]["step"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(text):
                return lines[: number - 1]
            raise BadInput(f"{path}: line {number} is no log line; mend it, or move the file away") from error
    return lines


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn a failed write into RunFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST):
            raise BadInput(f"{folder} cannot be written ({error}); name another folder with --runs") from error
        raise RunFailed(
            f"{folder} cannot be written: {error}. What was saved before is whole; free some space and repeat "
            "the command"
        ) from error


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are put into; one that comes again after seconds acts as without us.

    (Under torchrun the terminal and the launcher both send one, at the same moment.)
    """
    caught: list[int] = []
    first = 0.0

    def handle(signum: int, _: Any) -> None:
        nonlocal first
        if caught and time.monotonic() - first > 5.0:
            signal.signal(signum, before[signum])
            os.kill(os.getpid(), signum)
            return
        first = first or time.monotonic()
        caught.append(signum)

    before: dict[int, Any] = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def progress_bar(config: RunConfig, done: int) -> tqdm:
    size = config.batch_size
    return tqdm(
        total=config.steps * size,
        initial=done * size,
        desc=config.name,
        unit="sample",
        disable=dist.rank() > 0,
        mininterval=0.5 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
    )
