"""Our networks as backbones in mmpose's registry.  Imported by :mod:`moga_st.integrations.mmpose`, not by hand.

Shape legend: ``b`` batch, ``t`` frames, 17 joints.

    MogaNet     see :mod:`moga_st.integrations.mmengine_backbone`
    MogaLifter  keypoints (b, t, 17, 2 or 3)    -> (b, t, 17, width) for MotionRegressionHead, or
                                                   ((b, 17 width, 1),) for TemporalRegressionHead
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import dataclasses
from typing import Any

from einops import rearrange
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from moga_st.checkpoint import load_exactly
from moga_st.errors import BadInput
from moga_st.integrations.mmengine_backbone import MogaNet, pretrained_checkpoint, tensors_and_config
from moga_st.models import lifter

MODELS.register_module(module=MogaNet)


@MODELS.register_module()
class MogaLifter(BaseModule):
    """The pose lifter (:mod:`moga_st.models.lifter`) without its head, as the backbone of mmpose's PoseLifter.

    Keypoints come as (b, frames, 17, channels): codecs that flatten them (VideoPoseLifting) need
    ``reshape_keypoints=False``, and ``concat_vis=True`` gives the third channel.

    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` takes a weights file of `moga-st train` (.safetensors; its
    head is left out), and all that mmengine's takes.

    Args:
        arch: "xs", "s" or "b": width and depth.
        frames, channels, patch, drop_path_rate: LifterConfig's.
        centre_only: give ((b, 17 width, 1),), the centre frame's features, for TemporalRegressionHead with
            ``in_channels = 17 width``; otherwise (b, frames, 17, width), for MotionRegressionHead with
            ``in_channels = width``.
        init_cfg: see above.

    Raises:
        BadInput: an argument that does not fit.
    """

    causal = False  # the centre frame of a window is the target: mmpose's inferencer asks

    def __init__(
        self,
        arch: str = "xs",
        frames: int = 27,
        channels: int = 2,
        patch: int = 3,
        drop_path_rate: float = 0.0,
        centre_only: bool = False,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ):
        super().__init__(init_cfg)
        if arch not in lifter.SIZES:
            raise BadInput(f"MogaLifter arch: {arch!r} is none of {', '.join(lifter.SIZES)}")
        self.config = dataclasses.replace(
            lifter.SIZES[arch],
            frames=frames,
            channels=channels,
            patch=patch,
            drop_path=drop_path_rate,
            centre_only=centre_only,
        )
        self.lifter = self.config.build()
        self.lifter.head = nn.Identity()  # type: ignore[assignment]  (mmpose's head takes its place)

    def forward(self, keypoints: Tensor) -> Tensor | tuple[Tensor]:
        inverse: Tensor = self.lifter.inverse  # type: ignore[assignment]
        features = self.lifter.features(keypoints).index_select(3, inverse)
        if self.config.centre_only:
            return (rearrange(features, "b c t j -> b (j c) t"),)
        return rearrange(features, "b c t j -> b t j c")

    def init_weights(self) -> None:
        checkpoint = pretrained_checkpoint(self.init_cfg)
        if checkpoint is None or not checkpoint.endswith(".safetensors"):
            super().init_weights()
            return
        tensors, _ = tensors_and_config(checkpoint)
        load_exactly(self.lifter, {k: v for k, v in tensors.items() if not k.startswith("head.")}, checkpoint)
        self._is_init = True
