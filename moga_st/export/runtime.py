"""Exported networks run by ONNX Runtime or OpenVINO, where this package would run torch.

A file may come from anybody.  It must be of this package's making, hold all its tensors itself (ONNX can name other
files for them) and nothing but standard operators; its size is bounded as that of every file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.export.whole import Whole, WholeImage, WholeVideo
from moga_st.pretrained import check_numbers
from moga_st.spec import InputSpec
from moga_st.storage import escape, parse_json, read_bytes

ExportRuntime = Literal["onnxruntime", "openvino"]
RuntimeSession = Callable[..., np.ndarray]
"""Arrays with a batch, in the order of the whole's inputs -> its output."""
DOMAINS = {"", "ai.onnx", "com.microsoft"}  # of operators: the standard's, and the quantised ones
FILE_LIMIT = 2**31 - 1  # of a protobuf


class Standing(nn.Module):
    """Stands for a network that something else than torch runs; ``config`` is the network's."""

    def __init__(self, whole: Whole, config: ModelConfig):
        super().__init__()
        self.whole, self.config, self.mirrored = whole, config, whole.mirrored

    @property
    def frames_in(self) -> int:
        return self._video.frames_in

    @property
    def frames_out(self) -> int:
        return self._video.frames_out

    @property
    def channels(self) -> int:
        return self._video.channels

    @property
    def classes(self) -> int:
        return self.whole.classes if isinstance(self.whole, WholeImage) else 0

    @property
    def only_size(self) -> tuple[int, int] | None:
        """Height and width of frames, where it knows the places in them, so that no tiles of others will do."""
        video = self.whole if isinstance(self.whole, WholeVideo) and self.whole.placed else None
        return None if video is None else (video.height, video.width)

    @property
    def _video(self) -> WholeVideo:
        assert isinstance(self.whole, WholeVideo)
        return self.whole


class ExportedNet(Standing):
    """An exported network that takes and gives what the network itself does."""

    def __init__(self, whole: Whole, session: RuntimeSession, config: ModelConfig):
        super().__init__(whole, config)
        self.session = session

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the only frames that it takes."""
        return (self.whole.height, self.whole.width) if isinstance(self.whole, WholeVideo) else None

    def forward(self, x: Tensor, frames: int | None = None) -> Tensor:
        if frames is not None and frames > self.frames_out:
            raise BadInput(
                f"frames: the exported network predicts {self.frames_out}, not {frames}; export one for more"
            )
        inputs = self.whole.given(x.detach().float().cpu())
        for (name, value), given in zip(self.whole.inputs().items(), inputs, strict=True):
            if tuple(given.shape[1:]) != value.shape:
                raise BadInput(f"the exported network takes {name} of {value.shape}, got {tuple(given.shape[1:])}")
        out = self.session(*(np.ascontiguousarray(v.numpy()) for v in inputs))
        out = self.whole.back(torch.from_numpy(out))
        return out if frames is None else out[:, :frames]


class Loaded(NamedTuple):
    """A network to run, by torch or another runtime, and what is known of it."""

    net: nn.Module
    config: ModelConfig
    spec: InputSpec | None
    facts: dict[str, Any]
    name: str
    """For messages."""
    usual: Tensor | None = None
    """What a network of anomalies was trained without; see :class:`moga_st.pretrained.Weights`."""


def read_exported(path: Path, runtime: ExportRuntime) -> Loaded:
    """An .onnx file that `moga-st export` wrote.

    Raises:
        BadInput: no such file, none of ours, one that needs other files, or one that the runtime does not take.
    """
    content = read_bytes(path, FILE_LIMIT)
    told = _checked(content, path)
    try:
        about = parse_json(told.encode("utf-8", "replace"), "its metadata")
        check_numbers(about["model"], "model")
        check_numbers(about["whole"], "whole")
        whole, model = Whole.from_dict(about["whole"]), ModelConfig.from_dict(about["model"])
        spec = None if about.get("input") is None else InputSpec.from_dict(about["input"])
        facts = dict(about.get("facts", {}))
    except (BadInput, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BadInput(f"{path}: its metadata cannot be used: {error}") from error
    return Loaded(ExportedNet(whole, open_session(content, path, runtime), model), model, spec, facts, str(path))


def open_session(content: bytes, path: Path, runtime: ExportRuntime) -> RuntimeSession:
    """A file's content, ready to run on as many threads as torch has.

    Raises:
        BadInput: the runtime is not installed, or does not take the file.
    """
    open_it = {"onnxruntime": _onnxruntime, "openvino": _openvino}[runtime]
    try:
        return open_it(content)
    except ImportError as error:
        raise BadInput(f"{runtime}: is not installed ({error.name}); pip install 'moga-st[export]'") from error
    except Exception as error:  # each has exceptions of its own
        raise BadInput(f"{path}: {runtime} does not take it: {_first_line(error)}") from error


def _onnxruntime(content: bytes) -> RuntimeSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*arrays: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, dict(zip(names, arrays, strict=True)))[0])

    return run


def _openvino(content: bytes) -> RuntimeSession:
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()

    def run(*arrays: np.ndarray) -> np.ndarray:
        request.infer(list(arrays))
        return request.get_output_tensor(0).data.copy()

    return run


def _checked(content: bytes, path: Path) -> str:
    """What a file says of itself, once it is known to need no other file.

    Raises:
        BadInput: it is no ONNX of ours, or needs other files or unknown operators.
    """
    try:
        import onnx
    except ImportError as error:
        raise BadInput("export: onnx is not installed; pip install 'moga-st[export]'") from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, which lives elsewhere in every version
        raise BadInput(f"{path}: is no ONNX file, or a damaged one") from error
    told = {entry.key: entry.value for entry in model.metadata_props}
    if "moga_st" not in told:
        raise BadInput(f"{path}: an ONNX file that `moga-st export` has not written")
    if model.training_info:
        raise BadInput(f"{path}: holds graphs for training, which nothing here needs; export it again")
    for graph in [model.graph, *model.functions]:
        for tensor in _tensors(graph, path):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise BadInput(f"{path}: keeps tensors in other files, which are not read; export it again")
    unknown = {node.domain for graph in [model.graph, *model.functions] for node in graph.node} - DOMAINS
    own = {function.domain for function in model.functions}
    if unknown - own:
        raise BadInput(f"{path}: has operators of {escape(', '.join(sorted(unknown - own)))}, which are not known")
    return told["moga_st"]


def _tensors(graph: Any, path: Path, depth: int = 0) -> Iterator[Any]:
    """All tensors of a graph or function, and of the graphs inside its operators."""
    if depth > 16:
        raise BadInput(f"{path}: has graphs nested too deeply; export it again")
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer or inner.sparse_initializer:
                    yield from _tensors(inner, path, depth + 1)


def _first_line(error: Exception) -> str:
    return escape(next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__))
