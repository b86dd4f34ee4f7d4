"""Timing of weights from what a person has to what he wants: torch, ONNX Runtime and OpenVINO, float32 and 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moga_st.device import autocast
from moga_st.errors import BadInput
from moga_st.export.int8 import quantised
from moga_st.export.runtime import open_session
from moga_st.export.write import Exported, held_against_torch, prepare, to_onnx
from moga_st.models import to_device
from moga_st.timing import Steps, measure, timed

CPU = torch.device("cpu")


@dataclass(frozen=True)
class BenchRuntimes:
    """Time weights on the CPU, pre- and post-processing included: torch in float32 and bfloat16, ONNX Runtime and
    OpenVINO in float32 and 8 bits.  Inputs are random, so the ranges of the 8 bits are too: they set no time."""

    runtimes: bool = True
    """What makes it this bench."""
    batch_sizes: tuple[int, ...] = (1,)
    """Batch sizes."""
    size: tuple[int, ...] | None = None
    """Side of a square, or height and width, of frames; left out, as trained."""
    repeats: int = 20
    """Timed repeats of each; the median counts."""
    device: str = "cpu"
    """The CPU is what the runtimes run on."""
    json: bool = False
    """Print JSON."""


def run_runtimes(weights: Path, args: BenchRuntimes) -> list[dict[str, Any]]:
    """One row a runtime and precision: what, batch, ms, samples/s, and the ratio against torch in float32.

    Raises:
        BadInput: numbers out of range, weights that cannot be exported, or packages that are missing.
        RunFailed: a file differs from torch.
    """
    if args.repeats < 1:
        raise BadInput(f"expected at least 1, got {args.repeats}", argument="repeats")
    if min(args.batch_sizes, default=0) < 1:
        raise BadInput(f"expected numbers of at least 1, got {args.batch_sizes}", argument="batch_sizes")
    if args.device != "cpu":
        raise BadInput(f"{args.device}: the runtimes are timed on the CPU; leave it out", argument="device")
    if args.size is not None and len(args.size) not in (1, 2):
        raise BadInput(f"expected one number, or height and width, got {len(args.size)}", argument="size")
    size = None if args.size is None else (args.size[0], args.size[-1])
    exported = prepare(weights, size)
    plain = to_onnx(exported, exported.whole.sample(2))
    small = quantised(plain, exported.whole.sample(8))
    rows: list[dict[str, Any]] = []
    for batch in args.batch_sizes:
        inputs = exported.whole.sample(batch)
        steps = _steps(exported, weights, plain, small, inputs)
        before = len(rows)
        for name, (seconds, _) in measure(steps, args.repeats, CPU).items():
            row = timed(name, batch, seconds)
            if len(rows) > before:
                row |= {"ratio": row["samples/s"] / rows[before]["samples/s"], "against": rows[before]["what"]}
            rows.append(row)
    return rows


def _steps(exported: Exported, weights: Path, plain: bytes, small: bytes, inputs: tuple[Tensor, ...]) -> Steps:
    module = to_device(exported.module, CPU)  # in the layout in which this package runs it

    def by_torch(precision: str) -> Callable[[], object]:
        @torch.no_grad()
        def step() -> None:
            with autocast(precision, CPU):
                module(*inputs)

        return step

    arrays = [x.numpy() for x in inputs]
    steps: dict[str, Callable[[], object]] = {f"torch, {p}": by_torch(p) for p in ("float32", "bfloat16")}
    for runtime in ("onnxruntime", "openvino"):
        for precision, content in (("float32", plain), ("int8", small)):
            session = open_session(content, weights, runtime)
            if precision == "float32":
                held_against_torch(exported, session, inputs)
            steps[f"{runtime}, {precision}"] = lambda session=session: session(*arrays)
    return steps
