"""Timing of a recipe's parts: each gain is a ratio against a baseline measured in the same process.

Times are medians of repeats, the variants of a pair taken in turn so that a drifting machine hits both.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from moga_st import bench_reading, kernels, optim
from moga_st.config import ModelConfig, data_root
from moga_st.device import autocast, setup
from moga_st.engine import RunConfig, Runtime
from moga_st.engine.update import Update, on_stream
from moga_st.errors import BadInput
from moga_st.kernels.cases import cases
from moga_st.kernels.sharded import prepare
from moga_st.models import to_device
from moga_st.shards import Shards
from moga_st.tasks.task import SequenceTask, Setting, Task, with_own_loss
from moga_st.tasks.video import MadeOnDevice
from moga_st.timing import WARM_UP, Roofline, Steps, ceilings, least, measure, timed


@dataclass(frozen=True)
class BenchKernels:
    """Time the depthwise operators against plain torch and against a copy of the bytes they must move."""

    batch_sizes: tuple[int, ...] = (1, 16)
    """Batch sizes."""
    repeats: int = 5
    """Timed repeats of each variant; the median counts."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class BenchModel(BenchKernels):
    """Time a network's forward and backward pass, and inference: plain torch, ours, ours compiled."""

    training: bool = True
    """Time training too."""
    compile: bool = True
    """Time torch.compile too (the CPU needs a C++ compiler for it)."""


@dataclass(frozen=True)
class BenchRecipe(BenchModel):
    """Time a recipe's training step, inference and data generation: plain torch, ours, ours compiled."""

    batch_sizes: tuple[int, ...] = (1, 16)
    """Batch sizes of inference; the training step runs at the recipe's."""
    shared: bool = False
    """Time training again while another program keeps one core busy (CPU)."""
    videos: Path | None = None
    """For a recipe on prepared clips: the folder of videos that they were prepared from, whose windows a torch
    DataLoader with two workers draws beside our reader."""
    data_root: Path | None = None
    """Folder that holds the data; default MOGA_ST_DATA, then datasets/ of the checkout."""


def count(config: ModelConfig) -> tuple[int, int]:
    """Parameters, and multiply-adds of one example of ``config.example_shape`` (convolutions and products)."""
    try:
        with torch.device("meta"):  # no memory and no time, whatever the size
            return _count(config)[:2]
    except (RuntimeError, TypeError):  # another package's network may need numbers to be built
        return _count(config)[:2]


def _count(config: ModelConfig) -> tuple[int, int, int]:
    """Parameters, multiply-adds, and the frames that one example comes out as (1 for an image)."""
    net = config.build().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = net(torch.empty(1, *config.example_shape))
    frames = out.shape[1] if out.ndim > 2 else 1
    return sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2, frames


def run_recipe(config: RunConfig, args: BenchRecipe) -> list[dict[str, Any]]:
    """One row a measurement: what, batch, ms, samples/s, memory (MB), the ratio against a named other, for a
    training step the share of its time that :class:`Roofline` says it cannot do without, and for inference the
    frames/s that come out."""
    device = _device(args)
    setting = Setting(device, data_root(args.data_root), config.seed, config.batch_size)
    task = config.task.build(setting)
    rows = []
    config = dataclasses.replace(config, model=config.model.fit(task.spec))
    data = getattr(task, "data", None)
    if isinstance(data, MadeOnDevice):
        rows += _data(data, device, args.repeats)
    reads = task.fetch(0) is not None
    if args.videos is not None and not (reads and isinstance(task, SequenceTask)):
        raise BadInput(f"{config.name} reads no clips from a disk; leave it out", argument="videos")
    if reads:
        rows += bench_reading.loading(task, config.batch_size, args.videos)
        if args.training and config.accumulate == 1:
            net = to_device(config.model.build(), device)
            update = _updates(config, task, net, Runtime(device=args.device))
            rows.append(bench_reading.waiting(task, config.batch_size, update, 10))
    if args.training:
        rows += _training(config, task, args, device)
    frames = _count(config.model)[2]
    for size in args.batch_sizes:
        nets = _networks(config.model, args, device)
        x = torch.rand(size, *config.model.example_shape, device=device)
        steps = {name: partial(_infer, net, x, name, config.precision) for name, net in nets.items()}
        rows += [row | {"frames/s": row["samples/s"] * frames} for row in _pair("inference", size, steps, args, device)]
    return rows


def run_model(model: ModelConfig, args: BenchModel) -> list[dict[str, Any]]:
    """What :func:`run_recipe` does, for a network of no recipe: forward with backward, and inference; all but "plain"
    in bfloat16 on CUDA."""
    device = _device(args)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    rows = []
    for size in args.batch_sizes:
        x = torch.rand(size, *model.example_shape, device=device)
        trained, used = (_networks(model, args, device) for _ in range(2))
        if args.training:
            steps = {
                name: partial(_gradients, net.train(), x, name, precision)
                for name, net in trained.items()
                if "graph" not in name
            }
            rows += _pair("forward and backward", size, steps, args, device)
        inference = {name: partial(_infer, net, x, name, precision) for name, net in used.items()}
        rows += _pair("inference", size, inference, args, device)
    return rows


def run_kernels(args: BenchKernels) -> list[dict[str, Any]]:
    """The depthwise operators of the Moving MNIST model, in bfloat16 on CUDA and float32 elsewhere: what a copy of the
    bytes they must move takes, plain, and ours; "ratio" is the time over that of the copy.

    On CUDA many calls are captured as one graph, and its replay is timed: an operator may take ten microseconds, less
    than Python needs to launch it.  (What is small enough stays in L2, for the copy as for the others.)
    """
    device = _device(args)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rows = []
    for case in (case for size in args.batch_sizes for case in cases(size)):
        convs, x = case.build(device, dtype)
        gradient = torch.randn_like(x)
        inputs = [x, *(p for conv in convs for p in conv.parameters())]
        forward = partial(case.function, x, *convs)

        def both(forward: Any = forward, inputs: list[Tensor] = inputs, gradient: Tensor = gradient) -> None:
            torch.autograd.grad(forward(), inputs, gradient)  # without the passes that add to an older gradient

        moved = sum(case.bytes(dtype))
        block = torch.ones(moved // 2, dtype=torch.uint8, device=device)
        steps: Steps = {
            "copy": partial(torch.empty_like(block).copy_, block),
            "plain": kernels.use(False)(both),
            "ours": both,
        }
        calls = 20 if device.type == "cuda" else 1
        if device.type == "cuda":
            steps = {name: _captured(step, calls) for name, step in steps.items()}
        times = {name: seconds / calls for name, (seconds, _) in measure(steps, args.repeats, device).items()}
        for name, seconds in times.items():
            row = timed(f"{case.name}, forward and backward, {name}", len(x), seconds)
            rows.append(row | {"ratio": seconds / times["copy"], "against": "copy"})
    return rows


def _captured(step: Callable[[], object], calls: int) -> Callable[[], object]:
    """So many calls of it, as one CUDA graph."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with on_stream(stream):  # what is set up at first use must not be in the graph
        for _ in range(WARM_UP["cuda"]):
            step()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(calls):
            step()
    return graph.replay


def _device(args: BenchKernels) -> torch.device:
    if args.repeats < 1:
        raise BadInput(f"expected at least 1, got {args.repeats}", argument="repeats")
    if min(args.batch_sizes, default=0) < 1:
        raise BadInput(f"expected numbers of at least 1, got {args.batch_sizes}", argument="batch_sizes")
    return setup(args.device)


def _data(data: MadeOnDevice, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Batches made on the device against their definition on one CPU core, which makes the first few of them."""
    batches, few, size = 32, 2, 512
    parts = torch.arange(batches * size, device=device).split(size)
    numbers = [part.cpu().numpy() for part in parts[:few]]

    def slow() -> None:
        for part in numbers:
            data.make_slowly("train", part)

    def fast() -> None:
        for part in parts:
            data.make("train", part)

    times = measure({"slow": slow, "fast": fast}, repeats, device)
    rows = [
        timed("data, plain loop on one core", size, times["slow"][0] / few),
        timed("data, batched", size, times["fast"][0] / batches),
    ]
    rows[1] |= {"ratio": rows[1]["samples/s"] / rows[0]["samples/s"], "against": rows[0]["what"]}
    return rows


def _training(config: RunConfig, task: Task, args: BenchRecipe, device: torch.device) -> list[dict[str, Any]]:
    steps = _training_steps(config, task, args, device)
    rows = _pair("training step", config.batch_size, steps, args, device)
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    step = _update(config, task, to_device(config.model.build(), device), Runtime(device=args.device))
    with kernels.use(False), Roofline(ceilings(device, dtype)) as roofline:  # it knows torch's own operators
        step()
    for row in rows:
        row["roofline"] = 1e3 * roofline.seconds / row["ms"]
    if args.shared and device.type == "cpu":
        rows += _beside_another(steps, config.batch_size, args)
    return [*rows, {"what": "training step, roofline", "batch": config.batch_size} | least(roofline)]


def _beside_another(steps: Steps, size: int, args: BenchRecipe) -> list[dict[str, Any]]:
    """The step of the whole batch and that in shards while another program keeps one core busy; "ratio" is the speed
    against that of the cores that are left, which the step in shards shows on them with nothing beside it."""
    chosen = {name: step for name, step in steps.items() if name == "eager" or "shards" in name}
    in_shards = next((name for name in chosen if "shards" in name), "eager")
    free = f"{in_shards}, on all cores but one"
    rows = [timed(f"training step, {free}", size, _seconds({free: on_fewer_cores(chosen[in_shards])}, args)[free])]
    with busy_core():
        times = _seconds(chosen, args)
    for name, seconds in times.items():
        row = timed(f"training step beside another program, {name}", size, seconds)
        rows.append(row | {"ratio": row["samples/s"] / rows[0]["samples/s"], "against": rows[0]["what"]})
    return rows


def _seconds(steps: Steps, args: BenchRecipe) -> dict[str, float]:
    return {name: found[0] for name, found in measure(steps, args.repeats, torch.device("cpu")).items()}


def on_fewer_cores(step: Callable[[], object]) -> Callable[[], None]:
    """The step on all cores but one, as far as its threads are begun in it.

    Raises:
        BadInput: this system lets no program choose its cores, or has one core.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise BadInput("shared: this system lets no program choose its cores; leave it out")
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise BadInput("shared: expected two cores or more, of which another program takes one; this has one")

    def on_them() -> None:
        os.sched_setaffinity(0, sorted(cores)[1:])
        try:
            step()
        finally:
            os.sched_setaffinity(0, cores)

    return on_them


@contextmanager
def busy_core() -> Iterator[None]:
    """Another program that would keep one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as program:
        try:
            yield
        finally:
            program.kill()


def _training_steps(config: RunConfig, task: Task, args: BenchRecipe, device: torch.device) -> Steps:
    """Whole updates: data, forward, backward, clipping, optimiser, weight average.

    "plain" is torch as it comes: float32, channels-first, none of our kernels; but on the CPU with our setting of
    malloc, which a process cannot take back.  "eager" computes the batch whole, whatever the recipe says.
    """
    runtime = Runtime(device=args.device)
    count = config.shards if config.shards > 1 else 2
    config = dataclasses.replace(
        config, shards=1, precision="float32" if config.precision == "auto" else config.precision
    )
    float32 = dataclasses.replace(config, precision="float32")
    steps = {
        "plain": kernels.use(False)(_update(float32, task, config.model.build().to(device), runtime)),
        "eager": _update(config, task, to_device(config.model.build(), device), runtime),
    }
    if device.type == "cpu" and config.batch_size // config.accumulate % count == 0:
        steps[f"in {count} shards"] = _in_shards(config, task, to_device(config.model.build(), device), runtime, count)
    if args.compile:
        compiled = dataclasses.replace(runtime, compile=True)
        steps["compiled"] = _update(config, task, to_device(config.model.build(), device), compiled)
        if device.type == "cuda":
            graph = dataclasses.replace(compiled, cuda_graph=True)
            steps["compiled, CUDA graph"] = _update(config, task, to_device(config.model.build(), device), graph)
    return steps


def _in_shards(config: RunConfig, task: Task, net: nn.Module, runtime: Runtime, count: int) -> Callable[[], None]:
    prepare(net)
    group = Shards(count)
    step = _update(config, task, net, runtime, group)

    def sharded() -> None:
        with group:  # threads of its own for each step: the other variants want theirs
            step()

    return sharded


def _update(
    config: RunConfig, task: Task, net: nn.Module, runtime: Runtime, group: Shards | None = None
) -> Callable[[], None]:
    update, number = _updates(config, task, net, runtime, group), itertools.count()

    def step() -> None:
        i = next(number)
        update(i, [task.fetch(i * config.accumulate + part) for part in range(config.accumulate)])

    return step


def _updates(config: RunConfig, task: Task, net: nn.Module, runtime: Runtime, group: Shards | None = None) -> Update:
    average = copy.deepcopy(net).requires_grad_(False) if config.optim.ema_decay else net
    optimiser = optim.build(net.train(), config.optim, on_device=runtime.cuda_graph, shards=group)
    return Update(config, task, net, with_own_loss(net), average, optimiser, runtime, group)


def _networks(model: ModelConfig, args: BenchModel, device: torch.device) -> dict[str, nn.Module]:
    """ "plain" is torch as it comes; the others are one network, in our layout, called in different ways."""
    ours = to_device(model.build(), device).eval()
    plain = model.build().to(device).eval()
    plain.forward = kernels.use(False)(plain.forward)
    nets: dict[str, Any] = {"plain": plain, "eager": ours}
    if args.compile:
        nets["compiled"] = torch.compile(ours, dynamic=False)
        if device.type == "cuda":
            nets["compiled, CUDA graph"] = torch.compile(ours, dynamic=False, mode="reduce-overhead")
    return nets


@torch.no_grad()
def _infer(net: nn.Module, x: Tensor, name: str, precision: str) -> None:
    with autocast("float32" if name == "plain" else precision, x.device):
        net(x)


def _gradients(net: nn.Module, x: Tensor, name: str, precision: str) -> None:
    with autocast("float32" if name == "plain" else precision, x.device):
        loss = net(x).float().square().mean()
    loss.backward()
    net.zero_grad(set_to_none=True)


def _pair(what: str, size: int, steps: Steps, args: BenchModel, device: torch.device) -> list[dict[str, Any]]:
    rows = []
    for name, (seconds, memory) in measure(steps, args.repeats, device).items():
        row = timed(f"{what}, {name}", size, seconds) | {"memory (MB)": memory}
        if rows:
            row |= {"ratio": row["samples/s"] / rows[0]["samples/s"], "against": rows[0]["what"]}
        rows.append(row)
    return rows
