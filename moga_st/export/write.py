"""Writing whole networks as ONNX or torch's own exported programs, each held against torch before it gets its name."""

from __future__ import annotations

import dataclasses
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moga_st import kernels, pretrained
from moga_st.config import ModelConfig
from moga_st.errors import BadInput, RunFailed
from moga_st.export.choose import whole_of
from moga_st.export.runtime import RuntimeSession, open_session
from moga_st.export.whole import OnAnomalies, Whole
from moga_st.storage import write_bytes

SUFFIXES = (".onnx", ".pt2")


class Exported(NamedTuple):
    """A network on its way out."""

    whole: Whole
    module: nn.Module
    """It, wrapped: what a file of it must agree with."""
    config: ModelConfig
    """The network's."""
    content: dict[str, Any]
    """What the file says of itself."""
    network: nn.Module
    """What is wrapped."""
    usual: Tensor | None = None
    """What the network's values are anomalies of, as it scales them (c, h, w); the file's are not."""

    def values(self, x: Tensor) -> Tensor:
        """Inputs of the network as values that are no anomalies."""
        return x if self.usual is None else x + self.usual

    def in_place(self, net: nn.Module) -> nn.Module:
        """What runs the written file, so that it takes and gives what the network does."""
        return net if self.usual is None else OnAnomalies(net, -self.usual)


class _Enough(Exception): ...


def prepare(
    weights: Path, size: tuple[int, int] | None = None, frames: int | None = None, licence: str | None = None
) -> Exported:
    """A weights file, run folder or name of weights in the package, wrapped to be exported.

    Raises:
        BadInput: see :func:`moga_st.pretrained.load_model` and :func:`moga_st.export.choose.whole_of`.
    """
    path = pretrained.find_weights(weights)
    held = pretrained.read_weights(path)
    facts = held.about.get("facts", {})
    try:
        whole = whole_of(held.model, held.spec, facts, size, frames)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    network, spec, usual = pretrained.load_model(path), held.spec, None
    if spec is not None and spec.anomalies is not None:
        if held.usual is None:
            raise BadInput(f"{path}: predicts anomalies, but does not hold what they are added to")
        usual = held.usual[0] / torch.tensor(spec.std).view(-1, 1, 1)
        spec = dataclasses.replace(spec, anomalies=None)
    with kernels.use(False):
        module = whole.wrap(network if usual is None else OnAnomalies(network, usual)).eval()
    shipped = path.parent == pretrained.SHIPPED
    known = "MIT" if shipped else "not stated"
    content = {
        "format": "moga_st whole network",
        "version": 1,
        "whole": whole.to_dict(),
        "model": held.model.to_dict(),
        "input": None if spec is None else spec.to_dict(),
        "conventions": whole.conventions(),
        "weights": path.stem if shipped else path.name,
        "licence": licence or known,
        "licence_of_data": facts.get("licence", "see its source"),
        "facts": facts,
    }
    return Exported(whole, module, held.model, content, network, usual)


def recorded(net: nn.Module, run: Callable[[], object], count: int) -> Tensor:
    """Real inputs: the first ``count`` examples that ``net`` is given while ``run`` goes on, or all if there are fewer:
    (count, ...), on the CPU.

    Raises:
        BadInput: it is given none.
    """
    found: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        found.append(inputs[0].detach().cpu())
        if sum(map(len, found)) >= count:
            raise _Enough

    handle = net.register_forward_pre_hook(look)
    try:
        run()
    except _Enough:
        pass
    finally:
        handle.remove()
    if not found:
        raise BadInput("no example reached the network, so that there is nothing to check it on")
    return torch.cat(found)[:count]


def write(path: Path, exported: Exported, examples: Tensor) -> float:
    """Write ``exported`` to ``path``, .onnx or .pt2, if it agrees with torch on ``examples``, which are inputs of the
    network itself; returns the largest difference.

    Raises:
        BadInput: another suffix, or packages are missing.
        RunFailed: it cannot be exported, or differs by more than the whole's tolerance; nothing is written.
    """
    inputs = exported.whole.given(exported.whole.fitted(examples))
    if path.suffix == ".onnx":
        content = to_onnx(exported, inputs)
        difference = held_against_torch(exported, open_session(content, path, "onnxruntime"), inputs)
    elif path.suffix == ".pt2":
        content = _to_pt2(exported, inputs)
        difference = held_against_torch(exported, _pt2_session(content), inputs)
    else:
        raise BadInput(f"{path}: name the output something{' or something'.join(SUFFIXES)}")
    write_bytes(path, content)
    return difference


def to_onnx(exported: Exported, inputs: Sequence[Tensor]) -> bytes:
    """The ONNX file's content, all tensors and what it says of itself inside.

    Raises:
        BadInput: packages are missing.
        RunFailed: it cannot be exported.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(f"export: {error.name} is not installed; pip install 'moga-st[export]'") from error
    names, (output, _) = list(exported.whole.inputs()), exported.whole.output()
    with _exporting():
        program = torch.onnx.export(
            _program(exported, inputs), dynamo=True, verbose=False, input_names=names, output_names=[output]
        )
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    model.producer_name = "moga_st"
    for key, value in _metadata(exported).items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()


def _to_pt2(exported: Exported, inputs: Sequence[Tensor]) -> bytes:
    out = io.BytesIO()
    with _exporting():
        torch.export.save(_program(exported, inputs), out, extra_files=_metadata(exported))
    return out.getvalue()


def _pt2_session(content: bytes) -> RuntimeSession:
    module = torch.export.load(io.BytesIO(content)).module()

    @torch.no_grad()
    def run(*arrays: np.ndarray) -> np.ndarray:
        return module(*(torch.from_numpy(a) for a in arrays)).numpy()

    return run


def _program(exported: Exported, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """The network traced with any number of examples."""
    # seven, which is no size of anything else: torch would take a batch of 1 for fixed, and sizes that agree by chance
    # for one and the same
    seven = tuple(x.repeat(7, *[1] * (x.ndim - 1))[:7] for x in inputs)
    batch = torch.export.Dim("batch")
    return torch.export.export(exported.module, seven, dynamic_shapes=tuple({0: batch} for _ in seven), strict=False)


def _metadata(exported: Exported) -> dict[str, str]:
    own = exported.content
    plain = {name: own[name] for name in ("licence", "licence_of_data")}
    return {"moga_st": json.dumps(own), **plain, **exported.whole.conventions()}


@contextmanager
def _exporting() -> Iterator[None]:
    """Plain operators, no gradients, and none of the exporter's talk.

    Raises:
        RunFailed: whatever stops the exporter.
    """
    try:
        with torch.no_grad(), kernels.use(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadInput:
        raise
    except Exception as error:  # its exceptions are of many kinds
        said = next((line for line in str(error).splitlines() if line.strip()), "no word why")
        raise RunFailed(f"this network cannot be exported: {type(error).__name__}: {said}") from error


@torch.no_grad()
def held_against_torch(exported: Exported, session: RuntimeSession, inputs: Sequence[Tensor]) -> float:
    """The largest difference from torch, of all examples at once and of one alone.

    Raises:
        RunFailed: it is more than the whole's tolerance.
    """
    largest = 0.0
    for part in ([x[:1] for x in inputs], inputs):
        with kernels.use(False):
            expected = exported.module(*part)
        got = torch.from_numpy(session(*(x.numpy() for x in part)))
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise RunFailed(
                f"the exported network gives {got.dtype} {tuple(got.shape)}, torch {expected.dtype} "
                f"{tuple(expected.shape)}; nothing is written"
            )
        largest = max(largest, exported.whole.difference(got, expected))
    most, unit = exported.whole.tolerance
    if not largest <= most:  # also where it is NaN
        raise RunFailed(
            f"the exported network differs from torch by {largest:.3g} {unit}, more than {most:g}; nothing is written"
        )
    return largest
