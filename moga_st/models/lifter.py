"""Lifts 2D keypoints to 3D poses with Moga blocks on the grid of time x joints.

The joint axis is a body, not a line.  Joints are laid along it limb after limb (:data:`BODY_ORDER`), so that
the block's kernels see neighbours of the body, and beside every block a mixing over all 17 joints reaches the
rest of it.

Shape legend: ``b`` clips, ``t`` frames, ``j`` joints (17), ``c`` channels.

    keypoints (b, t, j, 2 or 3)  ->  grid (b, c, t, j)  ->  depth x [joint mixing, Moga block]  ->  poses (b, t', j, 3)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import BadInput, Config, ModelConfig
from moga_st.models.moga import MogaBlock, init_conv

JOINTS = 17
# Human3.6M-17 joints limb after limb: right foot to hip, hip, left hip to foot, spine, right wrist to shoulder,
# thorax, left shoulder to wrist, neck, head
BODY_ORDER = (3, 2, 1, 0, 4, 5, 6, 7, 16, 15, 14, 8, 11, 12, 13, 9, 10)
BONES = (
    *((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10)),
    *((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16)),
)


@dataclass(frozen=True)
class JointMixingConfig(Config):
    """A residual module (b, c, t, 17) -> (b, c, t, 17) beside a Moga block; this one does nothing."""

    def build(self, channels: int) -> nn.Module:  # noqa: ARG002 (the others need it)
        return nn.Identity()


@dataclass(frozen=True)
class DenseMixingConfig(JointMixingConfig):
    """A kernel over all joints: groups of channels have a learnt 17 x 17 matrix each."""

    groups: int = 8
    """Number of matrices; must divide the channels."""

    def build(self, channels: int) -> nn.Module:
        return DenseMixing(channels, self.groups)


@dataclass(frozen=True)
class GraphMixingConfig(JointMixingConfig):
    """Graph convolution (Kipf, Welling 2017) over the bones, with a learnt weight for every edge."""

    def build(self, channels: int) -> nn.Module:
        return GraphMixing(channels)


@dataclass(frozen=True)
class AttentionMixingConfig(JointMixingConfig):
    """Self-attention over the joints of a frame."""

    heads: int = 4
    """Number of heads; must divide the channels."""

    def build(self, channels: int) -> nn.Module:
        return AttentionMixing(channels, self.heads)


@dataclass(frozen=True)
class LifterConfig(ModelConfig):
    """The defaults are XS; :data:`SIZES` has the others."""

    frames: int = 27
    """Frames of a window; any other length runs too, this one is trained."""
    channels: int = 2
    """2 for x and y, 3 with the detector's confidence."""
    width: int = 96
    """Channels of the grid."""
    depth: int = 8
    """Moga blocks."""
    ffn_ratio: float = 4.0
    """Hidden width of the channel-aggregation FFN over `width`."""
    drop_path: float = 0.0
    """Drop-path rate of the last block; it rises linearly from 0."""
    mixing: JointMixingConfig = field(default_factory=DenseMixingConfig)
    """What mixes joints beside each block."""
    body_order: bool = True
    """Lay the joints along the grid limb after limb; off, in the order of Human3.6M-17."""
    centre_only: bool = False
    """Give the pose of the centre frame only, (b, 1, 17, 3), as VideoPose3D does."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames, JOINTS, self.channels)

    def build(self) -> Lifter:
        return Lifter(self)


SIZES = {
    "xs": LifterConfig(),
    "s": LifterConfig(width=144, depth=10),
    "b": LifterConfig(width=192, depth=12),
}


class Mixing(nn.Module):
    """x + proj(mix(norm(x))): what the mixings share."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj(self.mix(self.norm(x)))


class DenseMixing(Mixing):
    """A matrix over the joints for each group of channels."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels)
        if channels % groups:
            raise BadInput(f"mixing.groups: {groups} does not divide {channels} channels")
        # starts as the mean over all joints, so that every joint knows where the body is
        self.weight = nn.Parameter(torch.full((groups, JOINTS, JOINTS), 1 / JOINTS))
        self.value = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        value = rearrange(self.value(x), "b (g c) t j -> b g (c t) j", g=len(self.weight))
        return rearrange(torch.matmul(value, self.weight), "b g (c t) j -> b (g c) t j", t=x.shape[2])


class GraphMixing(Mixing):
    """The normalised adjacency of the bones, with self-loops and a learnt weight for every edge."""

    def __init__(self, channels: int):
        super().__init__(channels)
        edges = [(i, i) for i in range(JOINTS)] + [e for i, j in BONES for e in ((i, j), (j, i))]
        degree = [sum(i == k for i, _ in edges) for k in range(JOINTS)]
        self.edges = nn.Parameter(torch.tensor([(degree[i] * degree[j]) ** -0.5 for i, j in edges]))
        self.register_buffer("where", torch.tensor(edges).T.contiguous(), persistent=False)
        self.value = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        where: Tensor = self.where  # type: ignore[assignment]
        a = x.new_zeros(JOINTS, JOINTS).index_put((where[0], where[1]), self.edges.to(x.dtype))
        return torch.matmul(self.value(x), a)


class AttentionMixing(Mixing):
    """softmax(q k / sqrt(d)) v over the joints of each frame."""

    def __init__(self, channels: int, heads: int):
        super().__init__(channels)
        if channels % heads:
            raise BadInput(f"mixing.heads: {heads} does not divide {channels} channels")
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b (n h d) t j -> n (b t) h j d", n=3, h=self.heads)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return rearrange(out, "(b t) h j d -> b (h d) t j", t=x.shape[2])


class Lifter(nn.Module):
    """Maps keypoints (b, t, 17, channels) in normalised screen coordinates to poses (b, t, 17, 3), or to the
    centre frame's (b, 1, 17, 3).

    Raises:
        BadInput: the input has another shape, or the config's numbers do not fit each other.
    """

    def __init__(self, config: LifterConfig):
        super().__init__()
        if config.frames < 1 or config.frames % 2 == 0:
            raise BadInput(f"Lifter frames: expected an odd number, which has a centre, got {config.frames}")
        if config.channels not in (2, 3):
            raise BadInput(f"Lifter channels: expected 2 (x, y) or 3 (with confidence), got {config.channels}")
        if config.width <= 0 or config.width % 8:
            raise BadInput(f"Lifter width: expected a positive multiple of 8, got {config.width}")
        self.config = config
        self.embed = nn.Conv2d(config.channels, config.width, 1)
        self.joint = nn.Parameter(torch.zeros(1, config.width, 1, JOINTS))
        nn.init.trunc_normal_(self.joint, std=0.02)
        self.layers = nn.Sequential()
        for i in range(config.depth):
            rate = config.drop_path * i / max(1, config.depth - 1)
            mixing = config.mixing.build(config.width)
            mixing.apply(init_conv)
            if isinstance(mixing, Mixing):
                nn.init.zeros_(mixing.proj.weight)  # like the block beside it, the mixing starts as the identity
            self.layers.append(nn.Sequential(mixing, MogaBlock(config.width, config.ffn_ratio, rate)))
        self.norm = nn.BatchNorm2d(config.width)
        self.head = nn.Conv2d(config.width, 3, 1)
        order = BODY_ORDER if config.body_order else tuple(range(JOINTS))
        # buffers, since an index list would be copied to the device at every call
        self.register_buffer("order", torch.tensor(order), persistent=False)
        inverse = sorted(range(JOINTS), key=order.__getitem__)
        self.register_buffer("inverse", torch.tensor(inverse), persistent=False)

    def features(self, keypoints: Tensor) -> Tensor:
        """What the head reads: (b, width, t, 17), the joints as they lie on the grid (``order``); t is 1 if
        ``centre_only``."""
        if keypoints.ndim != 4 or keypoints.shape[2:] != (JOINTS, self.config.channels):
            raise BadInput(
                f"Lifter input: expected keypoints (b, t, {JOINTS}, {self.config.channels}), "
                f"got {tuple(keypoints.shape)}"
            )
        if self.training and keypoints.shape[1] != self.config.frames:
            raise BadInput(
                f"Lifter input: {keypoints.shape[1]} frames, but model.frames is {self.config.frames}; "
                "train on windows of task.frames = model.frames"
            )
        order: Tensor = self.order  # type: ignore[assignment]
        x = rearrange(keypoints.index_select(2, order), "b t j c -> b c t j")
        x = self.layers(self.embed(x) + self.joint)
        if self.config.centre_only:
            middle = x.shape[2] // 2
            x = x[:, :, middle : middle + 1]
        return self.norm(x)

    def forward(self, keypoints: Tensor) -> Tensor:
        inverse: Tensor = self.inverse  # type: ignore[assignment]
        return rearrange(self.head(self.features(keypoints)), "b c t j -> b t j c").index_select(2, inverse)
