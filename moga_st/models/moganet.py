"""MogaNet, the hierarchical classifier and backbone (arXiv 2211.03295, table A1).

Shape legend: ``b`` batch, ``c`` channels, ``h w`` image size; stage k of 1 to 4 runs at h/2^(k+1).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from moga_st.config import ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moga import MogaBlock, init_conv
from moga_st.spec import InputSpec, agreed


@dataclass(frozen=True)
class MogaNetConfig(ModelConfig, kind="moganet"):
    """Defaults are MogaNet-XT; :data:`SIZES` has all six."""

    widths: tuple[int, int, int, int] = (32, 64, 96, 192)
    """Channels of the four stages."""
    depths: tuple[int, int, int, int] = (3, 3, 10, 2)
    """Moga blocks of the four stages."""
    ffn_ratios: tuple[float, float, float, float] = (8.0, 8.0, 4.0, 4.0)
    """Hidden width of the channel-aggregation FFN over the stage's channels."""
    channels: int | None = None
    """Image channels; null for the data's, or 3."""
    classes: int | None = None
    """Classes of the linear head; 0 for a backbone without one; null for the data's, or 1000."""
    drop_path: float = 0.0
    """Drop-path rate of the last block; it rises linearly from 0."""
    double_silu: bool = False
    """The published `attn_force_fp32`, as OpenMixup's weights need it: SiLU twice on gate and value, and float32 there
    under autocast."""
    stem_stride: Literal[4, 2, 1] = 4
    """How many times smaller the stem makes an image: 4 as published; 2 or 1 for images of about 28 pixels."""
    size: int = 224
    """Side of the images that operations are counted and speed is measured on; it changes no network."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (3 if self.channels is None else self.channels, self.size, self.size)

    def fit(self, spec: InputSpec) -> MogaNetConfig:
        if len(spec.shape) != 3:
            raise BadInput(f"MogaNet takes images (c, h, w); this data has inputs of shape {spec.shape}")
        return dataclasses.replace(
            self,
            channels=agreed("channels", self.channels, spec.shape[0], 3),
            classes=agreed("classes", self.classes, spec.target[0] if spec.target else None, 1000),
            size=spec.shape[1] or self.size,
        )

    def build(self) -> MogaNet:
        return MogaNet(self)


SIZES = {
    "xt": MogaNetConfig(),
    "t": MogaNetConfig((32, 64, 128, 256), (3, 3, 12, 2)),
    "s": MogaNetConfig((64, 128, 320, 512), (2, 3, 12, 2)),
    "b": MogaNetConfig((64, 160, 320, 512), (4, 6, 22, 3)),
    "l": MogaNetConfig((64, 160, 320, 640), (4, 6, 44, 4)),
    "xl": MogaNetConfig((96, 192, 480, 960), (6, 6, 44, 4)),
}


class Stage(nn.Module):
    """Embedding (halves or quarters the map), Moga blocks, BatchNorm."""

    def __init__(self, embed: nn.Module, blocks: list[MogaBlock], width: int):
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embed(x)))


def stem(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions with BatchNorm and GELU between them: h -> h / stride, which is 4, 2 or 1."""
    half = c_out // 2
    return nn.Sequential(
        nn.Conv2d(c_in, half, 3, 2 if stride > 2 else 1, 1),
        nn.BatchNorm2d(half),
        nn.GELU(),
        nn.Conv2d(half, c_out, 3, 2 if stride > 1 else 1, 1),
        nn.BatchNorm2d(c_out),
    )


def downsample(c_in: int, c_out: int) -> nn.Sequential:
    """One strided 3x3 convolution with BatchNorm: h -> h/2."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, 2, 1), nn.BatchNorm2d(c_out))


def linear_head(width: int, classes: int) -> nn.Module:
    """The classifier's last layer, freshly initialised: (b, width) -> (b, classes), or nothing for 0 classes."""
    if not classes:
        return nn.Identity()
    head = nn.Linear(width, classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


class MogaNet(nn.Module):
    """Image classifier (b, c, h, w) -> (b, classes), or pyramid of features with :meth:`features`.

    Raises:
        BadInput: the input's channels do not fit the config.
    """

    def __init__(self, config: MogaNetConfig):
        super().__init__()
        channels = 3 if config.channels is None else config.channels
        classes = 1000 if config.classes is None else config.classes
        self.config = config = dataclasses.replace(config, channels=channels, classes=classes)
        total = sum(config.depths)
        rates = iter([config.drop_path * i / max(1, total - 1) for i in range(total)])
        self.stages = nn.Sequential()
        c_in = channels
        for width, depth, ratio in zip(config.widths, config.depths, config.ffn_ratios, strict=True):
            embed = downsample(c_in, width) if len(self.stages) else stem(c_in, width, config.stem_stride)
            blocks = [MogaBlock(width, ratio, next(rates), config.double_silu) for _ in range(depth)]
            self.stages.append(Stage(embed, blocks, width))
            c_in = width
        self.head = linear_head(c_in, classes)
        self.stages.apply(init_conv)

    def features(self, image: Tensor) -> list[Tensor]:
        """The four stages' outputs, (b, widths[k], h / 2^(k+2), w / 2^(k+2)) for k = 0 to 3."""
        if image.ndim != 4 or image.shape[1] != self.config.channels:
            raise BadInput(f"MogaNet input: expected (b, {self.config.channels}, h, w), got {tuple(image.shape)}")
        out, x = [], image
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image)[-1].mean((2, 3)))
