"""mmpose's lifters as baselines of the pose task, with mmpose's own layers and heads.

VideoPose3D's temporal convolution network (arXiv 1811.11742), SimpleBaseline3D (arXiv 1705.03098) and MotionBERT's
DSTFormer (arXiv 2210.06551).  Their configs are there without mmpose; building one needs it, the extra
``moga-st[mmpose]``.

Shape legend: ``b`` batch, ``t`` frames, ``j`` = 17 joints (Human3.6M order), ``c`` = 2 (x, y in normalised screen
coordinates) or 3 (with confidence).

    keypoints (b, t, j, c) -> TCN or SimpleBaseline3D -> (b, 1, j, 3), the pose of the centre frame
    keypoints (b, t, j, c) -> DSTFormer               -> (b, t, j, 3), the poses of all frames
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.integrations.mmpose_import import import_mmpose, in_scope

JOINT_COUNT = 17


@dataclass(frozen=True)
class MMPoseTCNConfig(ModelConfig, kind="mmpose_tcn", was=("moga_st.integrations.mmpose:MMPoseTCNConfig",)):
    """mmpose's TCN; the defaults are VideoPose3D's published network for 27 frames (8.56 M).

    It is built with strided convolutions, which compute only what the centre frame needs.  The weights are those
    of the dilated network, and so are the outputs in evaluation; in training the batch norms see fewer positions,
    as in VideoPose3D's own single-frame training.
    """

    frames: int = 27
    """Frames of a clip = the receptive field: 1 or a power of 3 from 9 on (published: 1, 27, 81, 243)."""
    channels: int = 2
    """Values used of a keypoint: 2 (x, y; a confidence is dropped) or 3 (with confidence)."""
    width: int = 1024
    """Channels of the stem and of the blocks."""
    dropout: float = 0.25
    """Dropout rate after every convolution but the last."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, JOINT_COUNT, self.channels)

    @property
    def kernels(self) -> tuple[int, ...]:
        """Kernel sizes of the stem and of each block; their product is `frames`.

        Raises:
            BadInput: no published arrangement has this receptive field.
        """
        if self.frames == 1:
            return (1,) * 5
        layers = round(math.log(max(self.frames, 1), 3))
        if layers < 2 or 3**layers != self.frames:
            raise BadInput(f"MMPoseTCN frames: expected 1 or a power of 3 from 9 on (27, 81, 243), got {self.frames}")
        return (3,) * layers

    def build(self) -> TCNLifter:
        return TCNLifter(self)


@dataclass(frozen=True)
class MMPoseSimpleBaselineConfig(
    ModelConfig, kind="mmpose_simple_baseline", was=("moga_st.integrations.mmpose:MMPoseSimpleBaselineConfig",)
):
    """SimpleBaseline3D as mmpose builds it, the TCN with kernels of size 1; the defaults are its published network
    (4.29 M).  mmpose's own recipe standardises keypoints and poses by Human3.6M's statistics; here they are the pose
    task's, as for all its models."""

    channels: int = 2
    """Values used of a keypoint: 2 (x, y; a confidence is dropped) or 3 (with confidence)."""
    width: int = 1024
    """Channels of the stem and of the blocks."""
    blocks: int = 2
    """Residual blocks of two layers each."""
    dropout: float = 0.5
    """Dropout rate after every layer but the last."""

    @property
    def frames(self) -> int:
        """It sees one frame."""
        return 1

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (1, JOINT_COUNT, self.channels)

    @property
    def kernels(self) -> tuple[int, ...]:
        """Kernel sizes of the stem and of each block.

        Raises:
            BadInput: no blocks.
        """
        if self.blocks < 1:
            raise BadInput(f"MMPoseSimpleBaseline blocks: expected at least 1, got {self.blocks}")
        return (1,) * (1 + self.blocks)

    def build(self) -> TCNLifter:
        return TCNLifter(self)


@dataclass(frozen=True)
class MMPoseDSTFormerConfig(
    ModelConfig, kind="mmpose_dstformer", was=("moga_st.integrations.mmpose:MMPoseDSTFormerConfig",)
):
    """mmpose's DSTFormer; the defaults are MotionBERT's published network (42.5 M at 243 frames).  MotionBERT-Lite
    is ``width=256, mlp_ratio=4`` (16.0 M)."""

    frames: int = 27
    """Frames of a clip, in and out."""
    channels: int = 3
    """Values used of a keypoint: 2 (x, y; a confidence is dropped) or 3 (with confidence)."""
    width: int = 512
    """Channels of a token (dim_feat)."""
    depth: int = 5
    """Dual-stream layers; each holds two spatial and two temporal attentions and four MLPs."""
    heads: int = 8
    """Attention heads; they divide `width`."""
    mlp_ratio: float = 2.0
    """Hidden width of the MLPs over `width`."""
    head_width: int = 512
    """Hidden width of the regression head (dim_rep)."""
    dropout: float = 0.0
    """Dropout rate of the tokens, the projections and the MLPs."""
    drop_path: float = 0.0
    """Drop-path rate of the last layer, linear from 0 at the first."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, JOINT_COUNT, self.channels)

    def build(self) -> DSTFormerLifter:
        return DSTFormerLifter(self)


class TCNLifter(nn.Module):
    """mmpose's TCN and TemporalRegressionHead.

    Raises:
        BadInput: the config does not fit the network, the input's shape does not fit the config, or mmpose cannot
            be imported.
    """

    def __init__(self, config: MMPoseTCNConfig | MMPoseSimpleBaselineConfig):
        super().__init__()
        kernels = config.kernels
        _check_config(config, "width")
        backbones, heads = import_mmpose()
        self.config = config
        self.backbone = backbones.TCN(
            in_channels=JOINT_COUNT * config.channels,
            stem_channels=config.width,
            num_blocks=len(kernels) - 1,
            kernel_sizes=kernels,
            dropout=config.dropout,
            use_stride_conv=True,
        )
        with in_scope():
            self.head = heads.TemporalRegressionHead(in_channels=config.width, num_joints=JOINT_COUNT)

    def forward(self, keypoints: Tensor) -> Tensor:
        """(b, frames, 17, c) -> (b, 1, 17, 3)."""
        used = _used_channels(keypoints, self.config)
        return self.head(self.backbone(rearrange(used, "b t j c -> b (j c) t")))[:, None]


class DSTFormerLifter(nn.Module):
    """mmpose's DSTFormer and MotionRegressionHead, with the initial weights of MotionBERT.

    Raises:
        BadInput: as :class:`TCNLifter`.
    """

    def __init__(self, config: MMPoseDSTFormerConfig):
        super().__init__()
        _check_config(config, "frames", "width", "depth", "heads", "head_width")
        if config.width % config.heads:
            raise BadInput(f"MMPoseDSTFormer heads: {config.heads} heads do not divide width {config.width}")
        backbones, heads = import_mmpose()
        self.config = config
        self.backbone = backbones.DSTFormer(
            in_channels=config.channels,
            feat_size=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            num_keypoints=JOINT_COUNT,
            seq_len=config.frames,
            drop_rate=config.dropout,
            drop_path_rate=config.drop_path,
        )
        with in_scope():
            self.head = heads.MotionRegressionHead(in_channels=config.width, embedding_size=config.head_width)
        self._initialise()

    def forward(self, keypoints: Tensor) -> Tensor:
        """(b, frames, 17, c) -> (b, frames, 17, 3)."""
        return self.head(self.backbone(_used_channels(keypoints, self.config)))

    def _initialise(self) -> None:
        # not mmpose's init_weights(): in 1.3.2 it leaves the biases random and breaks the equal start of the streams
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for fusion in self.backbone.attn_regress:  # softmax of equal values: both streams weigh 1/2
            nn.init.zeros_(fusion.weight)
            nn.init.constant_(fusion.bias, 0.5)


Baseline = MMPoseTCNConfig | MMPoseSimpleBaselineConfig | MMPoseDSTFormerConfig


def _check_config(config: Baseline, *at_least_one: str) -> None:
    name = type(config).__name__.removesuffix("Config")
    if config.channels not in (2, 3):
        raise BadInput(f"{name} channels: expected 2 (x, y) or 3 (x, y, confidence), got {config.channels}")
    for field in at_least_one:
        if getattr(config, field) < 1:
            raise BadInput(f"{name} {field}: expected at least 1, got {getattr(config, field)}")


def _used_channels(keypoints: Tensor, config: Baseline) -> Tensor:
    """Keypoints without a confidence that the model does not take."""
    fits = keypoints.ndim == 4 and keypoints.shape[1:3] == (config.frames, JOINT_COUNT)
    if not fits or keypoints.shape[-1] not in (config.channels, 3):
        channels = "3 channels" if config.channels == 3 else "2 or 3 channels"
        raise BadInput(
            f"{type(config).__name__.removesuffix('Config')} input: expected (b, {config.frames}, {JOINT_COUNT}, c) "
            f"with {channels}, got {tuple(keypoints.shape)}; cut or pad clips to {config.frames} frames"
        )
    return keypoints[..., : config.channels]
