"""Networks to run, by torch or by another runtime: what `predict`, `lift` and `classify` begin with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moga_st import pretrained
from moga_st.export.choose import whole_of
from moga_st.export.runtime import ExportedNet, ExportRuntime, Loaded, Standing, open_session, read_exported
from moga_st.export.whole import WholeVideo
from moga_st.export.write import held_against_torch, prepare, to_onnx
from moga_st.models.simvp import SimVPConfig


def load(weights: Path, device: torch.device | str = "cpu", runtime: ExportRuntime | None = None) -> Loaded:
    """A network ready to run.

    Args:
        weights: a weights file, a run's folder, the name of weights in the package, or an .onnx file that
            `moga-st export` wrote.
        device: where torch runs; the other runtimes run on the CPU.
        runtime: ONNX Runtime or OpenVINO instead of torch; weights are exported for it in memory.  Left out, torch,
            and ONNX Runtime for an .onnx file.

    Raises:
        BadInput: see :func:`moga_st.pretrained.load_model` and :func:`moga_st.export.runtime.read_exported`; or the
            weights cannot be exported.
    """
    if weights.suffix == ".onnx":
        return read_exported(weights, runtime or "onnxruntime")
    path = pretrained.find_weights(weights)
    held = pretrained.read_weights(path)
    facts = dict(held.about.get("facts", {}))
    if runtime is None:
        net = pretrained.load_model(path, device)
        return Loaded(net, held.model, held.spec, facts, str(path), held.usual)
    spec = held.spec if held.spec is None else dataclasses.replace(held.spec, anomalies=None)  # exported as values
    return Loaded(ExportedNow(path, runtime, held, facts), held.model, spec, facts, str(path))


class ExportedNow(Standing):
    """Weights that are exported in memory when the first input comes, checked against torch by it, and run by
    ``runtime``; once more for every other frame size or number of frames."""

    def __init__(self, path: Path, runtime: ExportRuntime, held: pretrained.Weights, facts: dict[str, Any]):
        # a size to begin with; every input brings its own
        sized = not isinstance(held.model, SimVPConfig) or (held.spec is not None and held.spec.anomalies is not None)
        whole = whole_of(held.model, held.spec, facts, None if sized else (64, 64))
        super().__init__(whole, held.model)
        self.path = path
        self.runtime: ExportRuntime = runtime
        self._made: dict[tuple[int, ...], ExportedNet] = {}

    def forward(self, x: Tensor, frames: int | None = None) -> Tensor:
        key = ()
        if isinstance(self.whole, WholeVideo):
            key = (*x.shape[-2:], self.frames_out if frames is None else frames)
        if key not in self._made:
            self._made[key] = self._export(x.detach().float().cpu(), frames)
        return self._made[key](x, frames)

    def _export(self, x: Tensor, frames: int | None) -> ExportedNet:
        size = (x.shape[-2], x.shape[-1]) if isinstance(self.whole, WholeVideo) else None
        exported = prepare(self.path, size, frames)
        inputs = exported.whole.given(x)
        session = open_session(to_onnx(exported, inputs), self.path, self.runtime)
        held_against_torch(exported, session, inputs)
        return ExportedNet(exported.whole, session, self.config)
