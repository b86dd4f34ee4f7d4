"""MogaNet as a backbone of mmengine's family: one class for mmpose, mmdet and mmseg, which :mod:`mmpose
<moga_st.integrations.mmpose>`, ``mmdet`` and ``mmseg`` beside it put in their registries.

Shape legend: ``b`` batch, ``c`` channels, ``h w`` image size.

    images (b, 3, h, w) -> stages k of ``out_indices``: (b, widths[k], h / 2^(k+2), w / 2^(k+2))
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from moga_st.checkpoint import load_exactly
from moga_st.config import ModelConfig
from moga_st.convert import rename
from moga_st.errors import BadInput, nearest
from moga_st.models import moganet
from moga_st.pretrained import read_weights

# also by the names that the published configs have
ARCHS = moganet.SIZES | {
    long: moganet.SIZES[short]
    for short, long in zip(moganet.SIZES, ("x-tiny", "tiny", "small", "base", "large", "x-large"), strict=True)
}


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each position of (b, c, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class MogaNet(BaseModule):
    """MogaNet (arXiv 2211.03295) as a backbone: images (b, channels, h, w) -> a tuple of features.

    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes a weights file of this package (.safetensors), or the
    path or URL of a checkpoint of mmengine's or of a published one, in the MogaNet repository's keys or in
    OpenMixup's.  What is no backbone's is left out of it; what is left must fit key by key.  Published pose models,
    detectors and segmentors can be loaded whole, by mmengine's ``load_from`` or any ``load_state_dict``: the keys that
    are the backbone's get our names.

    Args:
        arch: "xt", "t", "s", "b", "l", "xl" or the published long names ("x-tiny" to "x-large"), or a dict of
            MogaNetConfig's ``widths``, ``depths`` and ``ffn_ratios``.
        channels: image channels.
        out_indices: the stages (0 to 3) whose output is given, in this order.
        frozen_stages: as in mmpose's ResNet: 0 freezes the stem, k > 0 the stem and the first k stages, -1 nothing.
            Frozen means no gradient and, while training too, evaluation mode.
        drop_path_rate: drop-path rate of the last block; it rises linearly from 0.
        norm_cfg: the norm of every layer, built by mmcv: BN, SyncBN, GN (with ``num_groups``), ...; or LN2d, layer
            norm over the channels.  ``requires_grad`` and ``eps`` as everywhere in mmpose.
        norm_eval: keep batch norms in evaluation mode while training.
        double_silu: SiLU twice on gate and value: the second effect of the published ``attn_force_fp32``.  The
            published pose models and the MogaNet repository's classifiers need False, OpenMixup's classifiers True.
        init_cfg: see above, or any of mmengine's.

    Raises:
        BadInput: an argument that does not fit.
    """

    def __init__(
        self,
        arch: str | dict[str, Sequence[float]] = "t",
        channels: int = 3,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        norm_cfg: dict[str, Any] | None = None,
        norm_eval: bool = False,
        double_silu: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ):
        super().__init__(init_cfg)
        if isinstance(arch, str):
            if arch not in ARCHS:
                raise BadInput(f"MogaNet arch: {arch!r} is none of {', '.join(ARCHS)}{nearest(arch, ARCHS)}")
            size = ARCHS[arch]
        elif set(arch) == {"widths", "depths", "ffn_ratios"} and all(len(v) == 4 for v in arch.values()):
            size = moganet.MogaNetConfig(**{key: tuple(value) for key, value in arch.items()})  # type: ignore[arg-type]
        else:
            raise BadInput(f"MogaNet arch: expected a name or widths, depths and ffn_ratios of four stages, got {arch}")
        if not out_indices or not set(out_indices) <= set(range(4)):
            raise BadInput(f"MogaNet out_indices: expected some of the stages 0, 1, 2, 3, got {tuple(out_indices)}")
        if not -1 <= frozen_stages <= 4:
            raise BadInput(f"MogaNet frozen_stages: expected -1 (none), 0 (the stem) to 4 (all), got {frozen_stages}")
        self.config = dataclasses.replace(
            size, channels=channels, classes=0, drop_path=drop_path_rate, double_silu=double_silu
        )
        self.out_indices, self.norm_eval = tuple(out_indices), norm_eval
        self.stages = self.config.build().stages
        _set_norms(self.stages, norm_cfg or {"type": "BN"})
        # the parts that stay as they are
        self.frozen = [] if frozen_stages < 0 else [self.stages[0].embed, *self.stages[:frozen_stages]]
        for part in self.frozen:
            part.requires_grad_(False)
        self._register_load_state_dict_pre_hook(_take_published_keys)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(b, channels, h, w) -> a tuple of (b, widths[k], h / 2^(k+2), w / 2^(k+2)), k of ``out_indices``."""
        features, x = [], image
        for stage in self.stages[: max(self.out_indices) + 1]:
            x = stage(x)
            features.append(x)
        return tuple(features[k] for k in self.out_indices)

    def train(self, mode: bool = True) -> MogaNet:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        for module in self.modules():
            if self.norm_eval and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def init_weights(self) -> None:
        checkpoint = pretrained_checkpoint(self.init_cfg)
        if checkpoint is None:
            super().init_weights()
            return
        if checkpoint.endswith(".safetensors"):
            own, config = tensors_and_config(checkpoint)
            if isinstance(config, moganet.MogaNetConfig) and config.double_silu != self.config.double_silu:
                raise BadInput(f"{checkpoint}: needs double_silu={config.double_silu} in the backbone's config")
        else:
            own = _backbone_of(checkpoint)
        load_exactly(self, {k: v for k, v in own.items() if not k.startswith("head.")}, checkpoint)
        self._is_init = True


def _set_norms(module: nn.Module, norm_cfg: dict[str, Any]) -> None:
    """Put the norm that ``norm_cfg`` describes in the place of every batch norm; the state dict's keys stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _norm(norm_cfg, child.num_features))
        else:
            _set_norms(child, norm_cfg)


def _norm(norm_cfg: dict[str, Any], channels: int) -> nn.Module:
    options = dict(norm_cfg)
    if options["type"] == "LN":
        raise BadInput("MogaNet norm_cfg: LN is for (b, tokens, c); for maps (b, c, h, w) it is LN2d")
    if options["type"] != "LN2d":
        return build_norm_layer(options, channels)[1]
    del options["type"]
    trainable = options.pop("requires_grad", True)
    return LayerNorm2d(channels, **options).requires_grad_(trainable)


def pretrained_checkpoint(init_cfg: Any) -> str | None:
    """The checkpoint that an init_cfg names, if it names one."""
    configs = init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]
    return next((c["checkpoint"] for c in configs if c.get("type") == "Pretrained"), None)


def _take_published_keys(state: dict[str, Any], prefix: str, *_: object) -> None:
    """Give what stands below ``prefix`` in a state dict our names where it has the published ones."""
    if f"{prefix}patch_embed1.projection.0.weight" in state:
        theirs = {k.removeprefix(prefix): state.pop(k) for k in list(state) if k.startswith(prefix)}
        state.update({prefix + k: v for k, v in rename(theirs, "moganet").items() if not k.startswith("head.")})


def tensors_and_config(checkpoint: str) -> tuple[dict[str, Tensor], ModelConfig]:
    weights = read_weights(Path(checkpoint))
    return weights.tensors, weights.model


def _backbone_of(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of the MogaNet in a checkpoint of torch.save, whatever it is part of, under our names."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its command line beside the weights
            content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu", logger="silent")
    except OSError as error:  # no such file, or no net
        raise BadInput(
            f"{checkpoint}: cannot be had ({error}); fetch it by hand and name the file in the backbone's config: "
            "init_cfg=dict(type='Pretrained', checkpoint='PATH')"
        ) from error
    tensors = content.get("state_dict", content)
    for first, published in (("stages.0.embed.0.weight", False), ("patch_embed1.projection.0.weight", True)):
        for key in tensors:
            if key.endswith(first):
                prefix = key.removesuffix(first)
                own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                return rename(own, "moganet") if published else own
    raise BadInput(f"{checkpoint}: holds no MogaNet, neither in this package's keys nor in the published ones")
