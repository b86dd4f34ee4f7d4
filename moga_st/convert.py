"""Published checkpoints into ours: key dialects as rename tables, every key accounted for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moga_st.checkpoint import load_exactly
from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moganet import MogaNetConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig

# the Moga block as every published code base names it (OpenMixup writes `sigma.scale`, OpenSTL `sigma`)
BLOCK = [
    (r"layer_scale_([12])$", r"scale\1"),
    (r"attn\.proj_1\.", "spatial.proj_in."),
    (r"attn\.proj_2\.", "spatial.proj_out."),
    (r"attn\.sigma(\.scale)?$", "spatial.sigma"),
    (r"attn\.gate\.", "spatial.gate."),
    (r"attn\.value\.DW_conv0\.", "spatial.value.dw_low."),
    (r"attn\.value\.DW_conv1\.", "spatial.value.dw_middle."),
    (r"attn\.value\.DW_conv2\.", "spatial.value.dw_high."),
    (r"attn\.value\.PW_conv\.", "spatial.value.mix."),
    (r"mlp\.fc1\.", "channel.expand."),
    (r"mlp\.fc2\.", "channel.reduce."),
    (r"mlp\.dwconv\.", "channel.dw."),
    (r"mlp\.decompose\.", "channel.decompose."),
    (r"mlp\.sigma(\.scale)?$", "channel.sigma"),
]
OPENSTL = [
    (r"^enc\.enc\.(\d+)\.conv\.", r"encoder.layers.\1."),
    (r"^dec\.dec\.(\d+)\.conv\.", r"decoder.layers.\1."),
    (r"^(encoder|decoder)(\.layers\.\d+\.conv)\.0\.", r"\1\2."),  # conv.0 is the one before a PixelShuffle
    (r"^dec\.readout\.", "decoder.readout."),
    (r"^hid\.enc\.(\d+)\.block\.", r"translator.blocks.\1.block."),
    (r"^hid\.enc\.(\d+)\.reduction\.", r"translator.blocks.\1.project."),
    *BLOCK,
]
MOGANET = [
    (r"^backbone\.", ""),
    (r"^head\.fc\.", "head."),
    (r"^patch_embed(\d)\.projection\.(\d)\.", r"stages.\1.embed.\2."),  # the stem, a sequence of five
    (r"^patch_embed(\d)\.projection\.", r"stages.\1.embed.0."),
    (r"^patch_embed(\d)\.norm\.", r"stages.\1.embed.1."),
    (r"^blocks(\d)\.", r"stages.\1.blocks."),
    (r"^norm(\d)\.", r"stages.\1.norm."),
    *BLOCK,
]


def convert(path: Path, dialect: Literal["openstl", "moganet"]) -> tuple[nn.Module, ModelConfig]:
    """Read a published checkpoint; the config follows from the shapes of its tensors.

    Args:
        path: a file of torch.save: a state dict, bare or under "state_dict", with or without a wrapper's
            prefix on every key ("model.", "module.").
        dialect: "openstl" for SimVP with the MogaNet translator; "moganet" for the classifier, in the
            MogaNet repository's keys or OpenMixup's.

    Raises:
        BadInput: not such a checkpoint, or a key that is not accounted for.
    """
    tensors = _read(path)
    if dialect == "openstl":
        renamed = rename(_strip(tensors, "enc.enc.0.conv.conv.weight", path), "openstl")
        config = _simvp_config(renamed, path)
    else:
        published = _strip(tensors, "patch_embed1.projection.0.weight", path, keep="backbone.")
        # OpenMixup's training code ran with attn_force_fp32, see MultiOrderGatedAggregation
        openmixup = any(k.startswith("backbone.") for k in published)
        renamed = rename(published, "moganet")
        config = _moganet_config(renamed, path, double_silu=openmixup)
    net = config.build()
    load_exactly(net, renamed, path)
    return net, config


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
    tensors = _strip(_read(path), "backbone.patch_embed1.projection.0.weight", path)
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for key, tensor in tensors.items():
        part, _, rest = key.partition(".")
        part = part.removeprefix("keypoint_")
        if part not in parts:
            raise BadInput(f"{path}: {key} is part of no backbone and no keypoint_head")
        parts[part][rest] = tensor
    backbone, head = rename(parts["backbone"], "moganet"), parts["head"]
    config = _moganet_config(backbone, path, double_silu=False)
    load_exactly(config.build(), backbone, path)
    load_exactly(_heatmap_head(config.widths[-1], head, path), head, path)
    return {f"backbone.{k}": v for k, v in backbone.items()} | {f"head.{k}": v for k, v in head.items()}, config


def rename(tensors: dict[str, Tensor], dialect: Literal["openstl", "moganet"]) -> dict[str, Tensor]:
    """Published keys (without a wrapper's prefix) into ours; a key that no rule knows stays as it is."""
    out = {}
    for key, tensor in tensors.items():
        for pattern, replacement in OPENSTL if dialect == "openstl" else MOGANET:
            key = re.sub(pattern, replacement, key)
        # their stages count from 1
        out[re.sub(r"^stages\.(\d)", lambda m: f"stages.{int(m[1]) - 1}", key)] = tensor
    return out


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadInput(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its command line beside the weights
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"{path}: cannot be read as plain tensors ({reason}); where you trust it, load it yourself and save "
            'its "state_dict" alone with torch.save'
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise BadInput(f'{path}: holds no state dict, neither bare nor under "state_dict"')
    return content


def _strip(tensors: dict[str, Tensor], marker: str, path: Path, keep: str = "") -> dict[str, Tensor]:
    """Take off the prefix that stands before the key ``marker``, up to ``keep``, from every key."""
    found = next((k for k in tensors if k.endswith(marker)), None)
    if found is None:
        raise BadInput(f"{path}: has no key {marker}, so it is not of this model or not in this dialect (--from)")
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
    except KeyError as error:
        raise BadInput(f"{path}: no SimVP with a MogaNet translator: it lacks {error}") from error
    frames = total // len(first)
    return SimVPConfig(
        frames_in=frames,
        frames_out=frames,
        channels=first.shape[1],
        width=first.shape[0],
        layers=_count(tensors, r"encoder\.layers\.(\d+)\."),
        kernel=first.shape[-1],
        translator=translator,
    )


def _moganet_config(tensors: dict[str, Tensor], path: Path, double_silu: bool) -> MogaNetConfig:
    try:
        widths = [len(tensors[f"stages.{i}.norm.weight"]) for i in range(4)]
        hidden = [tensors[f"stages.{i}.blocks.0.channel.sigma"].shape[1] for i in range(4)]
        channels = tensors["stages.0.embed.0.weight"].shape[1]
    except KeyError as error:
        raise BadInput(f"{path}: no MogaNet: it lacks {error}") from error
    depths = [_count(tensors, rf"stages\.{i}\.blocks\.(\d+)\.") for i in range(4)]
    ratios = [h / w for h, w in zip(hidden, widths, strict=True)]
    head = tensors.get("head.weight")
    return MogaNetConfig(
        widths=(widths[0], widths[1], widths[2], widths[3]),
        depths=(depths[0], depths[1], depths[2], depths[3]),
        ffn_ratios=(ratios[0], ratios[1], ratios[2], ratios[3]),
        channels=channels,
        classes=0 if head is None else len(head),
        double_silu=double_silu,
    )


def _heatmap_head(c_in: int, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Simple Baselines' head (arXiv 1804.06208) as large as its tensors: what keys and shapes it has to have."""
    deconvs, head = nn.Sequential(), nn.Module()
    for i in range(0, _count(tensors, r"deconv_layers\.(\d+)\."), 3):
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
    """One more than the largest number that ``pattern`` finds in the keys."""
    return 1 + max((int(m[1]) for m in (re.match(pattern, k) for k in tensors) if m), default=-1)
