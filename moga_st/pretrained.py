"""Weights files: tensors, the network that they belong to, and where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from moga_st.checkpoint import build_exactly
from moga_st.config import ModelConfig
from moga_st.errors import BadInput, nearest
from moga_st.models import to_device
from moga_st.spec import InputSpec
from moga_st.storage import parse_json, read_safetensors, write_bytes

SHIPPED = Path(__file__).parent / "weights"
LARGEST = 1_000_000  # number in the config of a network, in either direction


class Weights(NamedTuple):
    """Exported weights: tensors, the model they belong to, and where they come from."""

    tensors: dict[str, Tensor]
    model: ModelConfig
    about: dict[str, Any]  # run config, step, metrics, data source, ... as far as known
    spec: InputSpec | None = None  # what the data gave the network; None where the file does not know
    usual: Tensor | None = None  # the climatology's means (k, c, h, w), where spec.anomalies


USUAL = "input.usual"  # its name among the tensors


def export_weights(
    path: Path,
    net: nn.Module,
    model: ModelConfig,
    about: dict[str, Any],
    half: bool = False,
    spec: InputSpec | None = None,
    usual: Tensor | None = None,
) -> None:
    """Write ``net``'s weights as safetensors with the model's config, ``spec`` and ``about`` (JSON) inside, atomically.

    ``usual`` (k, c, h, w) is what ``spec.anomalies`` says that values are anomalies of, in the data's unit.

    ``half`` stores matrices and kernels, which are nearly all of the file, as float16; vectors stay as they are,
    since running variances can be too small or too large for it.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() and v.squeeze().ndim > 1 else v for k, v in tensors.items()}
    if usual is not None:
        tensors[USUAL] = usual.detach().float().cpu().contiguous()
    content = {"model": model.to_dict(), "input": None if spec is None else spec.to_dict(), "about": about}
    metadata = {"moga_st": json.dumps(content)}
    write_bytes(path, safetensors_bytes(tensors, metadata))


def read_weights(path: Path) -> Weights:
    """Read what :func:`export_weights` wrote.

    Raises:
        BadInput: no such file, not safetensors, or not of this package.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such weights file")
    try:
        tensors, about = read_safetensors(path)
    except BadInput as error:
        raise BadInput(f"{error}; a published .pth goes through `moga-st convert` first") from error
    metadata = about.get("moga_st")
    if metadata is None:
        raise BadInput(f"{path}: safetensors without a moga_st config; `moga-st convert` and training runs write one")
    try:
        content = parse_json(metadata.encode("utf-8", "replace"), "its metadata")
        check_numbers(content["model"], "model")
        if not isinstance(content["about"], dict) or not isinstance(content["about"].get("facts", {}), dict):
            raise BadInput("about: expected an object, with facts as one")
        spec = content.get("input")
        spec = _spec_of_before(content) if spec is None else InputSpec.from_dict(spec)
        usual = tensors.pop(USUAL, None)
        return Weights(tensors, ModelConfig.from_dict(content["model"]), content["about"], spec, usual)
    except (BadInput, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BadInput(f"{path}: its config cannot be used: {error}") from error


def check_numbers(value: Any, where: str) -> None:
    """The config in weights that anybody may have made has no size or count beyond all reason.

    Raises:
        BadInput: it has.
    """
    if isinstance(value, (int, float)) and abs(value) > LARGEST:
        raise BadInput(f"{where} is {value:g}, expected at most {LARGEST:,}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        check_numbers(item, f"{where}.{key}")


def _check_finite(tensors: dict[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadInput(f"{path}: {name} holds NaN or infinite values; these weights are damaged")


def _spec_of_before(content: dict[str, Any]) -> InputSpec | None:
    """What files say of their input that were written before they had a place for it; None where they do not know."""
    task = content["about"].get("run", {}).get("task", {})
    size = task.get("motion", {}).get("frame_size")
    if size is not None:
        frames = [(task[name], 1, size, size) for name in ("frames_in", "frames_out")]
        return InputSpec(frames[0], frames[1], ("grey",))
    if "keypoints" in task:
        channels = ("x", "y", "confidence") if task["confidence"] else ("x", "y")
        return InputSpec((task["frames"], 17, len(channels)), (task["frames"], 17, 3), channels)
    return None


def load_model(path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The network in a weights file or the best one of a run folder, in evaluation mode.

    A SimVP maps (b, t, c, h, w) floats in [0, 1] to (b, t_out, c, h, w).

    Raises:
        BadInput: see :func:`read_weights`; or the tensors do not fit the config in the file.
    """
    path = find_weights(Path(path))
    weights = read_weights(path)
    _check_finite(weights.tensors, path)
    net: Any = build_exactly(weights.model.build, weights.tensors, path)
    if not hasattr(net, "config"):  # by which `lift` and `predict` know what it takes
        net.config = weights.model
    return to_device(net, device).eval()


def shipped() -> list[str]:
    """Names of the weights inside the package."""
    return sorted(p.stem for p in SHIPPED.glob("*.safetensors"))


def find_weights(path: Path) -> Path:
    """``path`` itself, ``best.safetensors`` of the run folder that it is, or the weights of that name in the package.

    Raises:
        BadInput: nothing of that name, or a folder without weights, or with those of several runs.
    """
    if path.is_file():
        return path
    best = path / "best.safetensors"
    if best.is_file():
        return best
    runs = sorted(p.parent for p in path.glob("*/best.safetensors"))
    if len(runs) == 1:  # runs/<recipe> with a single run in it
        return runs[0] / best.name
    if runs:
        raise BadInput(f"{path}: holds several runs; name one of {', '.join(map(str, runs))}")
    if str(path) in shipped():  # after the folders, but one of this name may be what `eval` wrote of these weights
        return SHIPPED / f"{path}.safetensors"
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path}: is a device, pipe or socket, expected an ordinary file")
    if path.exists():
        raise BadInput(f"{path}: no best.safetensors in this folder; train first, or name a .safetensors file")
    raise BadInput(
        f"{path}: no such weights file{nearest(str(path), shipped())}; name a .safetensors file, a run's folder, "
        f"or one of the package's own: {', '.join(shipped())}"
    )


def start_from(net: nn.Module, weights: str) -> str:
    """Copy from ``weights`` (a file, a run's folder or a name) all tensors whose names and shapes are ``net``'s, in
    place; returns what was taken and what was not, for people.

    Raises:
        BadInput: see :func:`read_weights`; or nothing fits.
    """
    path = find_weights(Path(weights))
    given, own = read_weights(path).tensors, net.state_dict()
    taken = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not taken:
        raise BadInput(f"{path}: none of its {len(given)} tensors fits this {type(net).__name__}")
    net.load_state_dict({**own, **taken})
    left = [k for k in own if k not in taken]
    unused = [k for k in given if k not in taken]
    said = f"started from {path}: took {len(taken)} of {len(own)} tensors"
    said += f"; fresh: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}" if left else ""
    return said + (f"; not used: {', '.join(unused[:5])}{' ...' if len(unused) > 5 else ''}" if unused else "")
