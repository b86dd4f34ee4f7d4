"""SimVP (arXiv 2206.05099) with a translator slot, by default MogaNet's block (arXiv 2211.03295).

Shape legend: ``b`` batch, ``t`` frames, ``c`` image channels, ``s`` encoder width, ``h w`` frame size,
``p`` = patch, ``n`` = p 2^(layers // 2) the encoder's reduction of the frame size.

    clip (b, t, c, h, w)
      -> encoder, a frame at a time       (b t, s, h/n, w/n), and its first layer (b t, s, h/p, w/p)
      -> translator, frames in channels   (b, t s, h/n, w/n)
      -> decoder, a frame at a time       (b, t, c, h, w)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import Config, ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moga import MogaBlock


@dataclass(frozen=True)
class TranslatorConfig(Config, rooms=("moga_st.models",)):
    """A module (b, channels, h, w) -> (b, channels, h, w) between encoder and decoder."""

    def build(self, channels: int) -> nn.Module:
        raise NotImplementedError


@dataclass(frozen=True)
class MogaTranslatorConfig(TranslatorConfig, kind="moga"):
    """Moga blocks; all but the first run at ``width`` channels."""

    width: int = 512
    """Channels of blocks 2 to `depth` (hid_T)."""
    depth: int = 8
    """Number of Moga blocks (N_T)."""
    ffn_ratio: float = 8.0
    """Hidden width of the channel-aggregation FFN over the block's channels."""
    drop_path: tuple[float, float] = (0.01, 0.0)
    """Drop-path rate of the first and the last block, linear in between. The published "0" is (0.01, 0)."""

    def build(self, channels: int) -> nn.Module:
        return MogaTranslator(self, channels)


@dataclass(frozen=True)
class SimVPConfig(ModelConfig, kind="simvp"):
    """Encoder, translator, decoder; the defaults are the published Moving MNIST model (46.777 M)."""

    frames_in: int = 10
    """Frames the model sees."""
    frames_out: int = 10
    """Frames it predicts: fewer than `frames_in` by truncation, more by rolling out on its own output."""
    channels: int = 1
    """Image channels."""
    width: int = 64
    """Channels of encoder and decoder (hid_S)."""
    layers: int = 4
    """Layers of encoder and decoder each (N_S); every second one halves or doubles the frame size."""
    kernel: int = 3
    """Kernel size of their convolutions."""
    patch: int = 1
    """Fold p x p pixels into channels before the encoder and unfold them after the decoder: the layers at
    full size, which cost most, get p^2 times cheaper. 1 is the published model."""
    translator: TranslatorConfig = field(default_factory=MogaTranslatorConfig)
    """What maps past features to future ones."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (self.frames_in, self.channels, 64, 64)

    def build(self) -> SimVP:
        return SimVP(self)


class ConvLayer(nn.Module):
    """Convolution, GroupNorm(2), SiLU; ``stride`` 2 halves the map, ``upsample`` doubles it (PixelShuffle)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, upsample: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out * 4 if upsample else c_out, kernel, stride, kernel // 2)
        self.shuffle = nn.PixelShuffle(2) if upsample else nn.Identity()
        self.norm = nn.GroupNorm(2, c_out)
        self.act = nn.SiLU()
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.shuffle(self.conv(x))))


class Encoder(nn.Module):
    """(b, c, h, w) -> (b, s, h/n, w/n) and the first layer's (b, s, h/p, w/p)."""

    def __init__(self, config: SimVPConfig):
        super().__init__()
        self.fold = nn.PixelUnshuffle(config.patch)
        widths = [config.channels * config.patch**2] + [config.width] * config.layers
        self.layers = nn.ModuleList(
            ConvLayer(widths[i], widths[i + 1], config.kernel, stride=1 + i % 2) for i in range(config.layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = x = self.layers[0](self.fold(x))
        for layer in self.layers[1:]:
            x = layer(x)
        return x, first


class Decoder(nn.Module):
    """(b, s, h/n, w/n) and the encoder's first layer (b, s, h/p, w/p) -> (b, c, h, w)."""

    def __init__(self, config: SimVPConfig):
        super().__init__()
        s = config.width
        # the encoder's strides in reverse: layer i doubles what encoder layer (layers - 1 - i) halved
        self.layers = nn.ModuleList(
            ConvLayer(s, s, config.kernel, upsample=bool(i % 2)) for i in reversed(range(config.layers))
        )
        self.readout = nn.Conv2d(s, config.channels * config.patch**2, 1)
        self.unfold = nn.PixelShuffle(config.patch)

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.unfold(self.readout(self.layers[-1](x + first)))


class TranslatorBlock(nn.Module):
    """A Moga block, then a 1x1 convolution where the width changes."""

    def __init__(self, c_in: int, c_out: int, ffn_ratio: float, drop_path: float):
        super().__init__()
        self.block = MogaBlock(c_in, ffn_ratio, drop_path)
        self.project = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.block(x))


class MogaTranslator(nn.Module):
    """Moga blocks on (b, t s, h, w): the first at t s channels, the others at ``config.width``."""

    def __init__(self, config: MogaTranslatorConfig, channels: int):
        super().__init__()
        if config.depth < 2:
            raise BadInput(f"translator depth: expected at least 2 blocks, got {config.depth}")
        if config.width <= 0 or config.width % 8:
            raise BadInput(f"translator width: expected a positive multiple of 8 channels, got {config.width}")
        widths = [channels] + [config.width] * (config.depth - 1) + [channels]
        first, last = config.drop_path
        rates = [first + (last - first) * i / (config.depth - 1) for i in range(config.depth)]
        self.blocks = nn.Sequential(
            *(TranslatorBlock(widths[i], widths[i + 1], config.ffn_ratio, rates[i]) for i in range(config.depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class SimVP(nn.Module):
    """Predicts ``frames_out`` frames from ``frames_in``.

    One pass of the network gives ``frames_in`` future frames.  Asked for fewer, the model truncates them;
    asked for more, it rolls out: it takes its own last ``frames_in`` frames as the next input, as often as
    needed, and truncates the last pass.

    Raises:
        BadInput: ``frames_in * width`` is no multiple of 8, or the input's shape does not fit the config.
    """

    def __init__(self, config: SimVPConfig):
        super().__init__()
        for name in ("frames_in", "frames_out", "channels", "layers", "patch"):
            if getattr(config, name) < 1:
                raise BadInput(f"SimVP {name}: expected at least 1, got {getattr(config, name)}")
        if config.kernel % 2 == 0:
            raise BadInput(f"SimVP kernel: expected an odd size, got {config.kernel}")
        if config.width < 2 or config.width % 2:
            raise BadInput(f"SimVP width: expected an even number of channels for GroupNorm(2), got {config.width}")
        if config.frames_in * config.width % 8:
            raise BadInput(
                f"SimVP frames_in x width = {config.frames_in} x {config.width} = "
                f"{config.frames_in * config.width} is not divisible by 8, which the Moga block needs; "
                "choose a width that is a multiple of 8"
            )
        self.config = config
        self.encoder = Encoder(config)
        self.translator = config.translator.build(config.frames_in * config.width)
        self.decoder = Decoder(config)

    def forward(self, clip: Tensor, frames_out: int | None = None) -> Tensor:
        """(b, frames_in, c, h, w) in [0, 1] -> (b, frames_out, c, h, w), not clipped to [0, 1]."""
        self._check(clip)
        wanted = self.config.frames_out if frames_out is None else frames_out
        if wanted < 1:
            raise BadInput(f"frames_out: expected at least 1, got {wanted}")
        parts = [self._predict(clip)]
        while len(parts) * self.config.frames_in < wanted:
            parts.append(self._predict(parts[-1]))
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))[:, :wanted]

    def _predict(self, clip: Tensor) -> Tensor:
        t = clip.shape[1]
        features, first = self.encoder(rearrange(clip, "b t c h w -> (b t) c h w"))
        features = _apart(self.translator(_together(features, t)), t)
        frames = self.decoder(features, first)
        return rearrange(frames, "(b t) c h w -> b t c h w", t=t)

    def _check(self, clip: Tensor) -> None:
        config = self.config
        expected = f"(b, {config.frames_in}, {config.channels}, h, w)"
        if clip.ndim != 5 or clip.shape[1] != config.frames_in or clip.shape[2] != config.channels:
            raise BadInput(f"SimVP input: expected shape {expected}, got {tuple(clip.shape)}")
        n = config.patch * 2 ** (config.layers // 2)
        h, w = clip.shape[-2:]
        if h % n or w % n:
            raise BadInput(
                f"SimVP input: {h}x{w} frames cannot be reduced {n} times (patch {config.patch}, "
                f"{config.layers // 2} halvings); resize or pad them to multiples of {n}"
            )


def _together(x: Tensor, t: int) -> Tensor:
    """(b t, s, h, w) -> (b, t s, h, w), in the layout of ``x``: the convolutions on both sides have it."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return rearrange(x, "(b t) s h w -> b h w (t s)", t=t).movedim(3, 1)
    return rearrange(x, "(b t) s h w -> b (t s) h w", t=t)


def _apart(x: Tensor, t: int) -> Tensor:
    """(b, t s, h, w) -> (b t, s, h, w), in the layout of ``x``."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return rearrange(x, "b (t s) h w -> (b t) h w s", t=t).movedim(3, 1)
    return rearrange(x, "b (t s) h w -> (b t) s h w", t=t)
