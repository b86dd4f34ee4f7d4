"""Static quantisation of an exported network: convolutions and products in 8 bits, the rest as it is."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from moga_st.errors import BadInput
from moga_st.export.runtime import ExportedNet, open_session
from moga_st.export.write import Exported, held_against_torch, to_onnx
from moga_st.storage import read_bytes, write_bytes

if TYPE_CHECKING:
    from moga_st.tasks.task import Task

ALLOWED_LOSS = 0.02  # of the score
PRODUCTS = ("Conv", "MatMul", "Gemm")
FIRST, LAST = 2, 3  # so many products stay in float32: rounding what is read and what is given costs most


def write_int8(path: Path, exported: Exported, examples: Tensor, task: Task) -> dict[str, Any]:
    """Write ``exported`` to ``path`` quantised, with ranges of activations from ``examples``, which are inputs of the
    network itself; returns the validation scores of float32 and int8, and the share of the score that is lost, which
    is negative where int8 is better by chance.

    Raises:
        BadInput: packages are missing, or the task's inputs are of another size.
        RunFailed: see :func:`moga_st.export.write.to_onnx`; or float32 already differs from torch.
    """
    inputs = exported.whole.given(exported.whole.fitted(examples))
    plain = to_onnx(exported, inputs)
    held_against_torch(exported, open_session(plain, path, "onnxruntime"), inputs)
    made = quantised(plain, inputs)
    scores = []
    for content in (plain, made):
        net = ExportedNet(exported.whole, open_session(content, path, "onnxruntime"), exported.config)
        scores.append(task.evaluate(exported.in_place(net), "val").model.means)
    write_bytes(path, made)
    full, small = scores
    name, sign = ("top1", -1) if "top1" in full else (task.monitor, 1)  # the monitored one is the lower the better
    lost = sign * (small[name] - full[name]) / full[name]
    return {"score": name, "float32": full, "int8": small, "loss": lost}


class _Examples:
    """What ONNX Runtime's calibration asks for its inputs."""

    def __init__(self, names: Sequence[str], inputs: Sequence[Tensor]):
        self._rows: Iterator[dict[str, np.ndarray]] = (
            {name: x[i : i + 1].numpy() for name, x in zip(names, inputs, strict=True)} for i in range(len(inputs[0]))
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def quantised(content: bytes, inputs: Sequence[Tensor]) -> bytes:
    """An ONNX file's content with weights in 8 bits by channel, and activations in 8 bits within the ranges that
    ``inputs``, one example after the other, give them (Jacob et al. 2018, arXiv 1712.05877); as QDQ nodes, which both
    runtimes know.  The first two and the last three products stay as they are.

    Weights use 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which would overflow.

    Raises:
        BadInput: packages are missing, or the network has no more products than stay as they are.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import CalibrationDataReader
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise BadInput(f"int8: {error.name} is not installed; pip install 'moga-st[export]'") from error
    model = onnx.load_model_from_string(content)
    told = {entry.key: entry.value for entry in model.metadata_props}
    names = [value.name for value in model.graph.input]
    reader = type("Reader", (_Examples, CalibrationDataReader), {})(names, inputs)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            given, ready, out = (Path(folder) / f"{name}.onnx" for name in ("given", "ready", "int8"))
            given.write_bytes(content)
            quant_pre_process(given, ready, skip_symbolic_shape=True)
            products = [node.name for node in onnx.load(ready).graph.node if node.op_type in PRODUCTS]
            if len(products) <= FIRST + LAST:
                kept = f"the first {FIRST} and the last {LAST} of them stay in float32"
                raise BadInput(f"int8: expected more than {FIRST + LAST} products, got {len(products)}: {kept}")
            quantize_static(
                ready,
                out,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(PRODUCTS),
                nodes_to_exclude=products[:FIRST] + products[-LAST:],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            made = onnx.load_model_from_string(read_bytes(out))
    finally:
        logging.disable(before)
    del made.metadata_props[:]
    for key, value in {**told, "precision": "int8"}.items():
        made.metadata_props.add(key=key, value=value)
    return made.SerializeToString()
