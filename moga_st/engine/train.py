"""The training loop: step, log, validate, checkpoint.  It knows tasks only by their contract.

Read :func:`train` from top to bottom; everything else in this package serves it.  Two rules make runs exact:

- All randomness of update ``i`` follows from (seed, i): the batch by the task's contract, the rest
  (drop path) from torch's generator, which is seeded anew for every update.  A checkpoint therefore needs
  no generator state, and a resumed run repeats the uninterrupted one to the bit on the CPU.
- What is computed is in :class:`RunConfig`; where and how fast is in :class:`Runtime` and never changes a result
  beyond rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from moga_st import dist, optim, pretrained
from moga_st.config import data_root
from moga_st.data.feed import Feed
from moga_st.device import has_amx, setup
from moga_st.engine import budget
from moga_st.engine.config import RunConfig, Runtime
from moga_st.engine.precision import choose
from moga_st.engine.run import Run, RunState, failure, raise_if_bad, run_folder
from moga_st.engine.signals import Signals, raised
from moga_st.engine.update import Update
from moga_st.errors import BadInput, Interrupted, RunFailed
from moga_st.kernels.sharded import prepare
from moga_st.models import to_device
from moga_st.shards import Shards, Spread
from moga_st.storage import escape
from moga_st.tasks.task import Setting, Task, announce, with_own_loss


def train(config: RunConfig, runtime: Runtime) -> Path:
    """Train, or go on training, to ``config.steps`` or for about ``config.minutes``; returns the run's folder.

    The folder holds run.json, metrics.jsonl, TensorBoard events, last.pt (with its pieces, see checkpoint.py)
    and best.safetensors.

    Raises:
        BadInput: a field is out of range, or the folder's checkpoint is of other data.
        RunFailed: the loss is not finite, or the disk is full.
        Interrupted: a signal came.
    """
    device = setup(runtime.device)
    _check_place(config, runtime, device)
    with raised(), Shards(config.shards) if in_shards(config, device) else nullcontext() as group:
        return _train(config, runtime, device, group)


def in_shards(config: RunConfig, device: torch.device) -> bool:
    """Whether the run's batches are computed in shards here."""
    return config.shards > 1 and device.type == "cpu" and dist.world() == 1


def _train(config: RunConfig, runtime: Runtime, device: torch.device, group: Shards | None) -> Path:
    setting = Setting(device, data_root(runtime.data_root), config.seed, config.batch_size // config.accumulate)
    task = config.task.build(setting)
    model = config.model.fit(task.spec)

    torch.manual_seed(config.seed)
    net = model.build()
    if config.init is not None:
        report(pretrained.start_from(net, config.init))
    net = dist.synchronise_batch_norm(to_device(net, device), device)
    if group is not None:
        prepare(net)
    average = copy.deepcopy(net).requires_grad_(False) if config.optim.ema_decay else net
    optimiser = optim.build(net, config.optim, on_device=runtime.cuda_graph, shards=group)

    run = Run(run_folder(config, runtime.runs, task.spec), config, task, net, model)
    state = run.resume(net, average, optimiser)
    net.train()
    decided_before = state.steps > 0 or config.minutes is None
    config = _decide(config, runtime, task, net, group, state)
    report(f"{config.name}: {run.parameters / 1e6:.3f} M parameters, {state.precision} on {device}", *announce(task))
    called = dist.wrap(with_own_loss(net), device)
    update = Update(config, task, net, called, average, optimiser, runtime, group)
    update.loss_sum += state.loss_sum if run.main else 0.0
    scored = average if group is None else Spread(average, group)
    session = Session(config, task, run, state, update, net, average, scored, optimiser)
    # processes must agree to save or stop; on a GPU that waits for it, so there only when we wait anyway
    agree_every = 1 if dist.world() == 1 or device.type == "cpu" else runtime.log_every
    parts = config.accumulate
    feed = Feed(task.fetch, state.step * parts, config.steps * parts)

    with run.open(state.step), Signals() as signals, progress_bar(config, state.step) as bar, feed:
        if not decided_before:
            session.save()  # from here on a run that was killed keeps to it
        if state.best is None and state.step == config.steps:
            session.validate(bar)
        while state.step < config.steps:
            update(state.step, [feed.take(state.step * parts + i) for i in range(parts)])
            state.step += 1
            state.loss_count += parts
            bar.update(config.batch_size)

            last = state.step == config.steps
            if state.step % runtime.log_every == 0 or last:
                bar.set_postfix(loss=f"{session.log():.3g}")
            if state.step % config.validate_every == 0 or last:
                session.check_finite()
                session.validate(bar)
                session.save()
            elif state.step % agree_every == 0:
                due = time.monotonic() - session.saved_at > runtime.save_every
                if dist.max_over_ranks(float(due or bool(signals.caught)), device):
                    session.check_finite()
                    session.save()
            if state.step % agree_every == 0:
                signum = int(dist.max_over_ranks(float(signals.caught), device))
                if signum:
                    raise Interrupted(signum)
    return run.folder


def _decide(
    config: RunConfig, runtime: Runtime, task: Task, net: nn.Module, group: Shards | None, state: RunState
) -> RunConfig:
    """The config with what it left to this machine, precision and number of updates; ``state`` keeps them, so that a
    run that goes on elsewhere keeps to them."""
    device = next(net.parameters()).device
    if not state.precision:
        trial = partial(_try, config, runtime, task, net, group)
        state.precision = choose(config.precision, device, trial)
    if state.precision == "bfloat16" and has_amx(device):
        report("bfloat16 has crashed torch 2.11 on processors with AMX, as this one: --precision float32 is safe")
    if not state.steps:
        timed = config.minutes is not None
        state.steps = _steps(config, runtime, task, net, group, state.precision) if timed else config.steps
    return dataclasses.replace(config, precision=state.precision, steps=state.steps)


@dataclass
class Session:
    """What one call of :func:`train` does beside updates: log, validate, save."""

    config: RunConfig
    task: Task
    run: Run
    state: RunState
    update: Update
    net: nn.Module
    average: nn.Module
    scored: nn.Module
    """What is validated: the average, computed in shards where the run is."""
    optimiser: torch.optim.Optimizer
    saved_at: float = field(default_factory=time.monotonic)
    """When the state was last saved, by the monotonic clock."""

    def __post_init__(self) -> None:
        self._seconds_before, self._start = self.state.seconds, time.monotonic()

    def seconds(self) -> float:
        """Of training, over all sessions of the run."""
        return self._seconds_before + time.monotonic() - self._start

    def log(self) -> float:
        """Write the mean loss since the last line; returns it."""
        raise_if_bad(self.update.bad_step, self.run.folder)
        count = self.state.loss_count * dist.world()
        mean = dist.sum_over_ranks(self.update.loss_sum).item() / count
        self.update.loss_sum.zero_()
        self.state.loss_count = 0
        self.run.log(self.state.step, {"loss": mean, "lr": self.update.lr}, self.seconds())
        return mean

    def check_finite(self) -> None:
        """Raise RunFailed if a loss or a weight is not finite: such a state is never saved."""
        raise_if_bad(self.update.bad_step, self.run.folder)
        if not all(torch.isfinite(p).all() for p in self.net.parameters()):
            raise RunFailed(failure("a weight became infinite or NaN", self.state.step, self.run.folder))

    def validate(self, bar: tqdm) -> None:
        """Score the weights; export them if they are the best so far."""
        state, monitor = self.state, self.task.monitor
        means = self.task.evaluate(self.scored).model.means
        score = means[monitor]
        if not math.isfinite(score):
            raise RunFailed(failure(f"validation {monitor} is {score}", state.step, self.run.folder))
        self.run.log(state.step, {f"val/{k}": v for k, v in means.items()}, self.seconds())
        if self.run.main:
            bar.write(f"step {state.step}: validation {monitor} {score:.4g}", file=sys.stderr)
        if state.best is None or score < state.best:
            state.best, state.best_step, state.seconds = score, state.step, self.seconds()
            self.run.export(self.average, state)

    def save(self) -> None:
        """Write the whole state."""
        self.state.seconds = self.seconds()
        self.state.loss_sum = dist.sum_over_ranks(self.update.loss_sum).item()
        if self.run.main:
            self.run.save(self.net, self.average, self.optimiser, self.state)
        self.saved_at = time.monotonic()


def _try(config: RunConfig, runtime: Runtime, task: Task, net: nn.Module, group: Shards | None, precision: str) -> None:
    """Compute the first update in this precision, and forget it."""
    # what is compiled or captured takes longer the first time
    runtime = dataclasses.replace(runtime, compile=False, cuda_graph=False)
    _forgotten(dataclasses.replace(config, precision=precision), runtime, task, copy.deepcopy(net), group)(0)


def _steps(
    config: RunConfig, runtime: Runtime, task: Task, net: nn.Module, group: Shards | None, precision: str
) -> int:
    """How many updates fit into ``config.minutes`` on this machine, tried on a copy of the network."""
    net = copy.deepcopy(net).train()
    update = _forgotten(dataclasses.replace(config, precision=precision), runtime, task, net, group)
    scored = net if group is None else Spread(net, group)
    device = next(net.parameters()).device
    assert config.minutes is not None
    budget_s = 60 * config.minutes
    report(f"{config.minutes:g} minutes: trying how many updates fit")
    update_s, validation_s = budget.timed(update, lambda: task.evaluate(scored), device, budget_s)
    steps = budget.steps_within(budget_s, update_s, validation_s, config.validate_every)
    report(f"{config.minutes:g} minutes: {steps:,} updates of {update_s:.3g} s, validations of {validation_s:.3g} s")
    return steps


def _forgotten(
    config: RunConfig, runtime: Runtime, task: Task, net: nn.Module, group: Shards | None
) -> Callable[[int], None]:
    """Updates of ``net`` by their numbers, which leave no trace but in it."""
    average = copy.deepcopy(net).requires_grad_(False) if config.optim.ema_decay else net
    optimiser = optim.build(net, config.optim, on_device=runtime.cuda_graph, shards=group)
    called = dist.wrap(with_own_loss(net), next(net.parameters()).device)
    update = Update(config, task, net, called, average, optimiser, runtime, group)
    parts = config.accumulate
    return lambda number: update(number, [task.fetch(number * parts + i) for i in range(parts)])


def report(*lines: str) -> None:
    """Say something on the terminal; stdout is for results."""
    if dist.rank() == 0:
        for line in lines:
            print(escape(line), file=sys.stderr)


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


def _check_place(config: RunConfig, runtime: Runtime, device: torch.device) -> None:
    """Raise BadInput where the run cannot be executed here as asked."""
    if runtime.cuda_graph and (device.type != "cuda" or dist.world() > 1):
        raise BadInput("cuda_graph: needs one process on a CUDA device; leave it out")
    if runtime.compile and in_shards(config, device):
        raise BadInput("compile: what shards compute cannot be compiled; leave it out, or take 1 shard")
    if (config.batch_size // config.accumulate) % dist.world():
        raise BadInput(
            f"batch_size / accumulate = {config.batch_size // config.accumulate} is not divisible by "
            f"{dist.world()} processes"
        )
