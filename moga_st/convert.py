"""Published checkpoints into ours and ours into published ones: key dialects as rename tables, every key accounted for.

A file may hold two sets of weights, the trained ones ("raw") and their moving average ("ema").  The average is taken,
as those who published it scored it, unless the other is asked for; :class:`Converted` says which it was.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.checkpoint import build_exactly
from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.storage import read_torch, strangers_in

Dialect = Literal["openstl", "moganet", "openmixup", "timm"]
"""openstl: SimVP with the MogaNet translator.  The classifier: moganet, in the MogaNet repository's keys; openmixup, in
OpenMixup's; timm, as :mod:`moga_st.integrations.timm` saves it, whose keys are ours."""
Which = Literal["raw", "ema"]

# the Moga block: our names, and those of every published code base (OpenSTL writes `sigma`, the others `sigma.scale`)
BLOCK = [
    ("scale1", "layer_scale_1"),
    ("scale2", "layer_scale_2"),
    ("spatial.proj_in", "attn.proj_1"),
    ("spatial.proj_out", "attn.proj_2"),
    ("spatial.sigma", "attn.sigma.scale"),
    ("spatial.gate", "attn.gate"),
    ("spatial.value.dw_low", "attn.value.DW_conv0"),
    ("spatial.value.dw_middle", "attn.value.DW_conv1"),
    ("spatial.value.dw_high", "attn.value.DW_conv2"),
    ("spatial.value.mix", "attn.value.PW_conv"),
    ("channel.expand", "mlp.fc1"),
    ("channel.reduce", "mlp.fc2"),
    ("channel.dw", "mlp.dwconv"),
    ("channel.decompose", "mlp.decompose"),
    ("channel.sigma", "mlp.sigma.scale"),
]
_FROM_BLOCK = [(rf"(?<=\.){re.escape(p.removesuffix('.scale'))}(\.scale)?(?=\.|$)", o) for o, p in BLOCK]
_TO_BLOCK = [(rf"(?<=\.){re.escape(ours)}(?=\.|$)", published) for ours, published in BLOCK]
OPENSTL = [
    (r"^enc\.enc\.(\d+)\.conv\.", r"encoder.layers.\1."),
    (r"^dec\.dec\.(\d+)\.conv\.", r"decoder.layers.\1."),
    (r"^(encoder|decoder)(\.layers\.\d+\.conv)\.0\.", r"\1\2."),  # conv.0 is the one before a PixelShuffle
    (r"^dec\.readout\.", "decoder.readout."),
    (r"^hid\.enc\.(\d+)\.block\.", r"translator.blocks.\1.block."),
    (r"^hid\.enc\.(\d+)\.reduction\.", r"translator.blocks.\1.project."),
    *_FROM_BLOCK,
]
MOGANET = [
    (r"^backbone\.", ""),
    (r"^head\.fc\.", "head."),
    (r"^patch_embed(\d)\.projection\.(\d)\.", r"stages.\1.embed.\2."),  # the stem, a sequence of five
    (r"^patch_embed(\d)\.projection\.", r"stages.\1.embed.0."),
    (r"^patch_embed(\d)\.norm\.", r"stages.\1.embed.1."),
    (r"^blocks(\d)\.", r"stages.\1.blocks."),
    (r"^norm(\d)\.", r"stages.\1.norm."),
    *_FROM_BLOCK,
]
TO_MOGANET = [  # their stages count from 1
    (r"^stages\.1\.embed\.(\d)\.", r"patch_embed1.projection.\1."),
    (r"^stages\.(\d)\.embed\.0\.", r"patch_embed\1.projection."),
    (r"^stages\.(\d)\.embed\.1\.", r"patch_embed\1.norm."),
    (r"^stages\.(\d)\.blocks\.", r"blocks\1."),
    (r"^stages\.(\d)\.norm\.", r"norm\1."),
    *_TO_BLOCK,
]
_STEM, _OUR_STEM = "patch_embed1.projection.0.weight", "stages.0.embed.0.weight"
_COUNTERS = ("total_ops", "total_params")  # what thop leaves in a network that it has counted


class Converted(NamedTuple):
    """A published network as one of ours."""

    net: nn.Module
    config: ModelConfig
    about: dict[str, Any]
    """``dialect``; ``weights``: "raw" or "ema"; ``beside``: what the file holds of the other, or None; ``training``:
    what it says of its training data, as plain values."""


def convert(
    path: Path, dialect: Dialect, weights: Which | None = None, attn_force_fp32: bool | None = None
) -> Converted:
    """Read a published checkpoint; the config follows from the shapes of its tensors.

    What no tensor says stays unknown: SimVP's frame size and rate, and what it was trained on.

    Args:
        path: a file of torch.save: a state dict, bare or under "state_dict" or "model", with or without a wrapper's
            prefix on every key ("model.", "module.").
        dialect: whose keys; "moganet" takes OpenMixup's classifiers too, as their keys tell them apart.
        weights: "raw" or "ema" where the file holds both; None for the average where there is one.
        attn_force_fp32: whether the classifier was trained with this switch, see
            :class:`moga_st.models.moga.MultiOrderGatedAggregation`; None for on in OpenMixup's, which trained so,
            and off in the others.

    Raises:
        BadInput: not such a checkpoint, or a key that is not accounted for.
    """
    content = _load(path)
    tensors, taken, beside = choose(content, path, weights)
    if dialect == "openstl":
        if attn_force_fp32 is not None:
            raise BadInput("attn_force_fp32 is a switch of the classifier, not of OpenSTL's SimVP")
        renamed = rename(_strip(tensors, "enc.enc.0.conv.conv.weight", path), "openstl", path)
        config: ModelConfig = _simvp_config(renamed, path)
    else:
        renamed, found = classifier_tensors(tensors, path)
        accepted = ("moganet", "openmixup") if dialect == "moganet" else (dialect,)
        if found == "backbone":  # of OpenMixup's or of another's: only who has the file can know
            found = dialect
        if found not in accepted:
            raise BadInput(f"{path}: its keys are of the dialect {found}, not of {dialect}")
        dialect = found  # type: ignore[assignment]
        double = dialect == "openmixup" if attn_force_fp32 is None else attn_force_fp32
        config = _moganet_config(renamed, path, double)
    net = build_exactly(config.build, renamed, path)
    about = {"dialect": dialect, "weights": taken, "beside": beside, "training": _training(content)}
    return Converted(net, config, about)


def classifier_tensors(
    tensors: dict[str, Any], source: Path | str
) -> tuple[dict[str, Tensor], Literal["moganet", "openmixup", "timm", "backbone"]]:
    """A MogaNet's state dict of any dialect under our names, and which dialect it was; "backbone" where that is of
    whoever uses MogaNet so (``backbone.*`` without a classifier's head).

    Raises:
        BadInput: it is no MogaNet's.
    """
    ours = any(k.endswith(_OUR_STEM) for k in tensors)
    stripped = _strip(tensors, _OUR_STEM if ours else _STEM, source, keep="backbone.")
    if ours:
        return stripped, "timm"
    renamed = rename(stripped, "moganet", source)
    if not any(k.startswith("backbone.") for k in stripped):
        return renamed, "moganet"
    return renamed, "openmixup" if "head.fc.weight" in stripped else "backbone"


def publish(tensors: dict[str, Tensor], dialect: Literal["moganet", "openmixup"]) -> dict[str, Tensor]:
    """A MogaNet's state dict under the names that the MogaNet repository or OpenMixup gives it.

    Raises:
        BadInput: tensors of another network.
    """
    if _OUR_STEM not in tensors:
        raise BadInput(f"only a MogaNet has {dialect}'s keys; these weights are of another network")
    out = {}
    for key, tensor in tensors.items():
        key = re.sub(r"^stages\.(\d)", lambda m: f"stages.{int(m[1]) + 1}", key)
        for pattern, replacement in TO_MOGANET:
            key = re.sub(pattern, replacement, key)
        if dialect == "openmixup":
            key = key.replace("head.", "head.fc.") if key.startswith("head.") else f"backbone.{key}"
        out[key] = tensor
    return out


def convert_pose(path: Path) -> tuple[dict[str, Tensor], MogaNetConfig]:
    """Read a published top-down pose checkpoint, which mmpose 0.x wrote, for today's mmpose.

    Args:
        path: a file of torch.save with `backbone.*` in the MogaNet repository's keys and `keypoint_head.*` (or
            already `head.*`) of Simple Baselines' heatmap head.

    Returns:
        The state dict of mmpose 1.x's TopdownPoseEstimator with our MogaNet as its backbone and a HeatmapHead, and the
        backbone's config.  Whether its SiLU is double no file says; the published pose configs leave it single.

    Raises:
        BadInput: not such a checkpoint, or a key that is not accounted for.
    """
    tensors = _strip(choose(_load(path), path)[0], f"backbone.{_STEM}", path)
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for key, tensor in tensors.items():
        part, _, rest = key.partition(".")
        part = part.removeprefix("keypoint_")
        if part not in parts:
            raise BadInput(f"{path}: {key} is part of no backbone and no keypoint_head")
        if rest in parts[part]:
            raise BadInput(f"{path}: two of its keys are both our {part}.{rest}; one of them belongs to something else")
        parts[part][rest] = tensor
    backbone, head = rename(parts["backbone"], "moganet", path), parts["head"]
    config = _moganet_config(backbone, path, double_silu=False)
    build_exactly(config.build, backbone, path)
    build_exactly(lambda: _heatmap_head(config.widths[-1], head, path), head, path)
    return {f"backbone.{k}": v for k, v in backbone.items()} | {f"head.{k}": v for k, v in head.items()}, config


def rename(
    tensors: dict[str, Tensor], dialect: Literal["openstl", "moganet"], source: Path | str = "checkpoint"
) -> dict[str, Tensor]:
    """Published keys (without a wrapper's prefix) into ours; a key that no rule knows stays as it is.

    Raises:
        BadInput: two keys of ``source`` become one.
    """
    out = {}
    for key, tensor in tensors.items():
        for pattern, replacement in OPENSTL if dialect == "openstl" else MOGANET:
            key = re.sub(pattern, replacement, key)
        # their stages count from 1
        ours = re.sub(r"^stages\.(\d)", lambda m: f"stages.{int(m[1]) - 1}", key)
        if ours in out:
            raise BadInput(f"{source}: two of its keys are both our {ours}; one of them belongs to something else")
        out[ours] = tensor
    return out


def choose(content: Any, path: Path, weights: Which | None = None) -> tuple[dict[str, Tensor], Which, str | None]:
    """The state dict in a checkpoint, without what thop counted; which it is, and where the other stands, if any.

    Raises:
        BadInput: there is no state dict, or not the one that is asked for.
    """
    found: dict[Which, dict[str, Any]] = {}
    names: dict[Which, str] = {}
    if isinstance(content, dict):
        for which, keys in (("raw", ("state_dict", "model")), ("ema", ("state_dict_ema", "model_ema"))):
            key = next((k for k in keys if isinstance(content.get(k), dict)), None)
            if key is not None:
                found[which], names[which] = content[key], f'under "{key}"'  # type: ignore[index]
        if not found:
            found["raw"], names["raw"] = content, "bare"
    _split_hook(found, names)
    wanted = weights or ("ema" if "ema" in found else "raw")
    if found and wanted not in found:
        raise BadInput(f"{path}: holds no {wanted} weights, only the {next(iter(found))} ones")
    tensors = {k: v for k, v in found.get(wanted, {}).items() if str(k).rpartition(".")[2] not in _COUNTERS}
    if not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        refused = sorted({v.name for v in strangers_in(content)})
        made = f"; of what is in it, {', '.join(refused)} was not made, as only tensors are read" if refused else ""
        raise BadInput(f'{path}: holds no state dict, neither bare nor under "state_dict" or "model"{made}')
    _check_tensors(tensors, path)
    return tensors, wanted, next((f"{w}, {names[w]}" for w in found if w != wanted), None)


def _check_tensors(tensors: dict[Any, Tensor], path: Path) -> None:
    """Weights are finite floats; only counters, such as batch norm's, are integers."""
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            raise BadInput(f"{path}: a tensor is called {key!r:.40}, expected a name")
        counter = tensor.ndim == 0 and tensor.dtype == torch.int64
        if not (tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) or counter):
            raise BadInput(f"{path}: {key} is {tensor.dtype}, expected floating-point weights")
        if not counter and not bool(torch.isfinite(tensor).all()):
            raise BadInput(f"{path}: {key} holds NaN or infinite values; these weights are damaged")


def _split_hook(found: dict[Which, dict[str, Any]], names: dict[Which, str]) -> None:
    """OpenMixup's EMAHook keeps the other weights in ``ema_*`` buffers of the network itself.  It exchanges the two
    before a checkpoint is saved: the average then has the plain names, and ``ema_*`` has the raw weights."""
    raw = found.get("raw", {})
    plain = {k: v for k, v in raw.items() if not str(k).startswith("ema_")}
    hidden = {k: f"ema_{k.replace('.', '_')}" for k in plain if isinstance(k, str)}
    if "ema" in found or len(plain) + sum(v in raw for v in hidden.values()) != len(raw) or len(plain) == len(raw):
        return
    found["ema"], found["raw"] = plain, {k: raw.get(hidden[k], v) for k, v in plain.items()}
    names["ema"], names["raw"] = "under the plain names", 'under "ema_...", where OpenMixup\'s EMAHook puts them'


def _load(path: Path) -> Any:
    """What torch.save wrote: tensors, plain values, and inert strangers in the place of everything else.  Lightning's
    paths, timm's command line and the like stand beside the weights and are not needed; no code of a file is ever run.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such checkpoint")
    return read_torch(path, strangers=True)


def _training(content: Any) -> dict[str, Any]:
    """What a checkpoint says of its training data in plain values: Lightning's ``hyper_parameters``."""
    said = content.get("hyper_parameters") if isinstance(content, dict) else None
    wanted = ("dataname", "in_shape", "pre_seq_length", "aft_seq_length", "fps")
    if not isinstance(said, dict):
        return {}
    found = {k: said[k] for k in wanted if k in said and not strangers_in(said[k])}
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in found.items()}


def _strip(tensors: dict[str, Tensor], marker: str, path: Path | str, keep: str = "") -> dict[str, Tensor]:
    """Take off the prefix that stands before the key ``marker``, up to ``keep``, from every key."""
    found = next((k for k in tensors if k.endswith(marker)), None)
    if found is None:
        raise BadInput(f"{path}: has no key {marker}, so it is not of this model or not in this dialect")
    prefix = found.removesuffix(marker).removesuffix(keep)
    strangers = [k for k in tensors if not k.startswith(prefix)]
    if strangers:
        raise BadInput(f"{path}: {len(strangers)} keys outside {prefix!r}, such as {strangers[0]}")
    return {k.removeprefix(prefix): v for k, v in tensors.items()}


def _simvp_config(tensors: dict[str, Tensor], path: Path) -> SimVPConfig:
    try:
        first = tensors["encoder.layers.0.conv.weight"]
        total = len(tensors["translator.blocks.0.block.norm1.weight"])
        translator = MogaTranslatorConfig(
            width=len(tensors["translator.blocks.1.block.norm1.weight"]),
            depth=_count(tensors, r"translator\.blocks\.(\d+)\."),
            ffn_ratio=tensors["translator.blocks.0.block.channel.sigma"].shape[1] / total,
        )
        frames = total // len(first)
        channels, kernel = first.shape[1], first.shape[-1]
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise BadInput(
            f"{path}: no SimVP with a MogaNet translator: it lacks {error}, or with another shape"
        ) from error
    return SimVPConfig(
        frames_in=frames,
        frames_out=frames,
        channels=channels,
        width=first.shape[0],
        layers=_count(tensors, r"encoder\.layers\.(\d+)\."),
        kernel=kernel,
        translator=translator,
    )


def _moganet_config(tensors: dict[str, Tensor], path: Path, double_silu: bool) -> MogaNetConfig:
    try:
        widths = [len(tensors[f"stages.{i}.norm.weight"]) for i in range(4)]
        hidden = [tensors[f"stages.{i}.blocks.0.channel.sigma"].shape[1] for i in range(4)]
        channels = tensors["stages.0.embed.0.weight"].shape[1]
        ratios = [h / w for h, w in zip(hidden, widths, strict=True)]
        classes = len(tensors["head.weight"]) if "head.weight" in tensors else 0
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise BadInput(f"{path}: no MogaNet: it lacks {error}, or with another shape") from error
    depths = [_count(tensors, rf"stages\.{i}\.blocks\.(\d+)\.") for i in range(4)]
    return MogaNetConfig(
        widths=(widths[0], widths[1], widths[2], widths[3]),
        depths=(depths[0], depths[1], depths[2], depths[3]),
        ffn_ratios=(ratios[0], ratios[1], ratios[2], ratios[3]),
        channels=channels,
        classes=classes,
        double_silu=double_silu,
    )


def _heatmap_head(c_in: int, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Simple Baselines' head (arXiv 1804.06208) as large as its tensors: what keys and shapes it has to have."""
    deconvs, head = nn.Sequential(), nn.Module()
    for i in range(0, len(tensors) * 3, 3):  # a deconvolution, its norm and a ReLU without weights, in turn
        if not any(k.startswith((f"deconv_layers.{i}.", f"deconv_layers.{i + 1}.")) for k in tensors):
            break
        weight = tensors.get(f"deconv_layers.{i}.weight")
        if weight is None or weight.ndim != 4:
            raise BadInput(f"{path}: its keypoint_head is no heatmap head: it lacks deconv_layers.{i}.weight")
        c_out = weight.shape[1]
        deconv = nn.ConvTranspose2d(c_in, c_out, (weight.shape[2], weight.shape[3]), 2, bias=False)
        deconvs.extend([deconv, nn.BatchNorm2d(c_out), nn.ReLU()])
        c_in = c_out
    bias = tensors.get("final_layer.bias")
    if bias is None:
        raise BadInput(f"{path}: its keypoint_head is no heatmap head: it lacks final_layer.bias")
    head.deconv_layers, head.final_layer = deconvs, nn.Conv2d(c_in, len(bias), 1)
    return head


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    """How many numbers from 0 on ``pattern`` finds in the keys; a layer numbered beyond a gap is a key too many."""
    found = {m[1] for m in (re.match(pattern, k) for k in tensors) if m}
    return next(n for n in range(len(found) + 1) if str(n) not in found)
