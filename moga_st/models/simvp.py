"""SimVP (arXiv 2206.05099) with a translator slot, by default MogaNet's block (arXiv 2211.03295).

Shape legend: ``b`` batch, ``t`` frames, ``c`` image channels, ``s`` encoder width, ``h w`` frame size,
``p`` = patch, ``n`` = p 2^(layers // 2) the encoder's reduction of the frame size.

    clip (b, t, c, h, w)
      -> encoder, a frame at a time       (b t, s, h/n, w/n), and its first layer (b t, s, h/p, w/p)
      -> translator, frames in channels   (b, t s, h/n, w/n), or apart (b, t, s, h/n, w/n) where it asks for that
      -> decoder, a frame at a time       (b, t, c, h, w)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from moga_st.config import Config, ModelConfig
from moga_st.errors import BadInput
from moga_st.models.moga import MogaBlock
from moga_st.models.warp import pixels, sample
from moga_st.spec import InputSpec, agreed

DARK = 2.0  # one with `probabilities` begins at sigmoid(-2) = 0.12 everywhere
FADED = 3.0  # a network with `fade` begins by keeping 95 % of the last frame


@dataclass(frozen=True)
class TranslatorConfig(Config, rooms=("moga_st.models",)):
    """A module between encoder and decoder that keeps the shape of what it gets: frames folded into channels,
    (b, t s, h, w), or with ``time_axis`` the frames apart, (b, t, s, h, w)."""

    time_axis: ClassVar[bool] = False

    def build(self, frames: int, channels: int, grid: tuple[int, int] | None) -> nn.Module:
        """The module for ``frames`` t of ``channels`` s each.

        Args:
            grid: its height and width; None where the frame size is not known, which only some translators need.
        """
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

    def build(self, frames: int, channels: int, grid: tuple[int, int] | None) -> nn.Module:  # noqa: ARG002
        return MogaTranslator(self, frames * channels)


@dataclass(frozen=True)
class SimVPConfig(ModelConfig, kind="simvp"):
    """Encoder, translator, decoder; the defaults are the published Moving MNIST model (46.777 M)."""

    frames_in: int | None = None
    """Frames the model sees; left out, as the data have it (10 without data)."""
    frames_out: int | None = None
    """Frames it predicts; left out, as the data have it (10 without data). See `future`."""
    channels: int | None = None
    """Channels of a frame; left out, as the data have it (1 without data)."""
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
    frame_size: tuple[int, int] | None = None
    """Height and width it is built for, which matters to translators with a fixed grid only; left out, as the data
    have it. Any other size can be given to the rest."""
    future: Literal["roll", "direct"] = "roll"
    """How `frames_out` comes about: from `frames_in` predicted frames, fewer by truncation and more by rolling out on
    them (roll), or from a layer that makes as many of them as are wanted at once (direct)."""

    residual: bool = False
    """Predict what changes from the last frame instead of whole frames, and begin with no change: for cameras that
    stand still and fields that persist."""
    fade: bool = False
    """With `residual`: learn too how much of the last frame stays, for each pixel and frame, so that a prediction can
    return to zero, to which what moves and fades decays where the data are anomalies (see the task's `anomalies`)."""

    motion: bool = False
    """With `residual`: learn too how fast what each pixel shows moves, and take the last frame moved so instead of the
    last frame: what moves stays sharp. It begins with no motion."""

    probabilities: bool = False
    """Read out each value through a sigmoid and learn it by cross-entropy in place of the task's loss (as in arXiv
    1506.04214), which makes bright things on black sharper after few updates. For frames in [0, 1]."""

    def __post_init__(self) -> None:
        if self.probabilities and self.residual:
            raise BadInput("SimVP probabilities: replaces the last frame, which residual adds to; take one of them")
        if self.fade and not self.residual:
            raise BadInput("SimVP fade: is how much of the last frame stays, which needs residual")
        if self.motion and not self.residual:
            raise BadInput("SimVP motion: moves the last frame, which needs residual")

    @property
    def example_shape(self) -> tuple[int, ...]:
        own = self.fit(InputSpec((None,) * 4))
        assert own.frames_in is not None
        assert own.channels is not None
        return (own.frames_in, own.channels, *(own.frame_size or (64, 64)))

    def fit(self, spec: InputSpec) -> SimVPConfig:
        if len(spec.shape) != 4:
            raise BadInput(f"SimVP predicts clips (t, c, h, w); this data has inputs of shape {spec.shape}")
        frames, channels, height, width = spec.shape
        known = None if height is None or width is None else (height, width)
        if self.probabilities and (spec.unit or spec.anomalies is not None or any(spec.mean) or set(spec.std) != {1.0}):
            raise BadInput(
                "SimVP probabilities: needs frames in [0, 1] as the network sees them; these data have others"
            )
        return dataclasses.replace(
            self,
            frames_in=agreed("frames in", self.frames_in, frames, 10),
            frames_out=agreed("frames out", self.frames_out, spec.target[0] if spec.target else None, 10),
            channels=agreed("channels", self.channels, channels, 1),
            frame_size=self.frame_size or known,
        )

    def build(self) -> SimVP:
        return ProbabilitySimVP(self) if self.probabilities else SimVP(self)


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
        _, _, channels = _numbers(config)
        widths = [channels * config.patch**2] + [config.width] * config.layers
        self.layers = nn.ModuleList(
            ConvLayer(widths[i], widths[i + 1], config.kernel, stride=1 + i % 2) for i in range(config.layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = x = self.layers[0](self.fold(x))
        for layer in self.layers[1:]:
            x = layer(x)
        return x, first


class Decoder(nn.Module):
    """(b, s, h/n, w/n) and the encoder's first layer (b, s, h/p, w/p) -> (b, c, h, w), two channels more with
    ``motion``, then one with ``fade``."""

    def __init__(self, config: SimVPConfig):
        super().__init__()
        s = config.width
        # the encoder's strides in reverse: layer i doubles what encoder layer (layers - 1 - i) halved
        self.layers = nn.ModuleList(
            ConvLayer(s, s, config.kernel, upsample=bool(i % 2)) for i in reversed(range(config.layers))
        )
        channels = _numbers(config)[2] + 2 * config.motion + config.fade
        self.readout = nn.Conv2d(s, channels * config.patch**2, 1)
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


class Future(nn.Module):
    """As many frames as are wanted out of as many as there are: (b t_in, s, h, w) -> (b t_out, s, h, w).

    It begins as repeating the frames in turn, or with ``last`` the last one.
    """

    def __init__(self, frames_in: int, frames_out: int, channels: int, last: bool = False):
        super().__init__()
        self.frames_in, self.frames_out = frames_in, frames_out
        self.mix = nn.Conv2d(frames_in * channels, frames_out * channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            of_frame = self.mix.weight.view(frames_out, channels, frames_in, channels)
            for i in range(frames_out):
                of_frame[i, :, frames_in - 1 if last else i % frames_in] = torch.eye(channels)

    def forward(self, x: Tensor) -> Tensor:
        return _apart(self.mix(_together(x, self.frames_in)), self.frames_out)


class SimVP(nn.Module):
    """Predicts ``frames_out`` frames from ``frames_in``.

    One pass of the network gives ``frames_in`` future frames, or, with ``future`` "direct", ``frames_out``.  Asked for
    fewer, the model truncates them; asked for more, it rolls out: it takes the last ``frames_in`` frames, its own
    among them, as the next input, as often as needed, and truncates the last pass.  Frames whose size the encoder
    cannot reduce are padded at the right and the bottom by repeating the edge, and the prediction is cropped.

    Raises:
        BadInput: ``frames_in * width`` is no multiple of 8, or the input's shape does not fit the config.
    """

    def __init__(self, config: SimVPConfig):
        super().__init__()
        config = config.fit(InputSpec((None,) * 4))
        for name in ("frames_in", "frames_out", "channels", "layers", "patch"):
            if getattr(config, name) < 1:
                raise BadInput(f"SimVP {name}: expected at least 1, got {getattr(config, name)}")
        if config.kernel % 2 == 0:
            raise BadInput(f"SimVP kernel: expected an odd size, got {config.kernel}")
        if config.width < 2 or config.width % 2:
            raise BadInput(f"SimVP width: expected an even number of channels for GroupNorm(2), got {config.width}")
        self.frames_in, self.frames_out, self.channels = _numbers(config)
        if self.frames_in * config.width % 8:
            raise BadInput(
                f"SimVP frames_in x width = {self.frames_in} x {config.width} = "
                f"{self.frames_in * config.width} is not divisible by 8, which the Moga block needs; "
                "choose a width that is a multiple of 8"
            )
        self.config = config
        self.reduction = config.patch * 2 ** (config.layers // 2)
        self.encoder = Encoder(config)
        size = config.frame_size
        grid = None if size is None else (-(-size[0] // self.reduction), -(-size[1] // self.reduction))
        self.translator = config.translator.build(self.frames_in, config.width, grid)
        if config.future == "direct":
            self.future = Future(self.frames_in, self.frames_out, config.width)
            self.future_first = Future(self.frames_in, self.frames_out, config.width, last=True)
        self.decoder = Decoder(config)
        if config.residual:
            nn.init.zeros_(self.decoder.readout.weight)
            nn.init.zeros_(self.decoder.readout.bias)  # type: ignore[arg-type]

    def forward(self, clip: Tensor, frames_out: int | None = None) -> Tensor:
        """(b, frames_in, c, h, w) -> (b, frames_out, c, h, w), as the network sees values; not clipped."""
        return self.shown(self._read(clip, frames_out))

    def shown(self, read: Tensor) -> Tensor:
        """Frames of what the decoder reads out."""
        return read

    def _read(self, clip: Tensor, frames_out: int | None) -> Tensor:
        if clip.ndim != 5 or clip.shape[1] != self.frames_in or clip.shape[2] != self.channels:
            expected = f"(b, {self.frames_in}, {self.channels}, h, w)"
            raise BadInput(f"SimVP input: expected shape {expected}, got {tuple(clip.shape)}")
        wanted = self.frames_out if frames_out is None else frames_out
        if wanted < 1:
            raise BadInput(f"frames_out: expected at least 1, got {wanted}")
        height, width = clip.shape[-2:]
        clip = self._padded(clip)
        parts = [self._predict(clip)]
        while len(parts) * parts[0].shape[1] < wanted:
            clip = torch.cat([clip, self.shown(parts[-1])], dim=1)[:, -self.frames_in :]
            parts.append(self._predict(clip))
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))[:, :wanted, :, :height, :width]

    def _predict(self, clip: Tensor) -> Tensor:
        t = clip.shape[1]
        features, first = self.encoder(rearrange(clip, "b t c h w -> (b t) c h w"))
        if self.config.translator.time_axis:
            apart = rearrange(features, "(b t) s h w -> b t s h w", t=t)
            features = rearrange(self.translator(apart), "b t s h w -> (b t) s h w")
        else:
            features = _apart(self.translator(_together(features, t)), t)
        if self.config.future == "direct":
            features, first, t = self.future(features), self.future_first(first), self.frames_out
        frames = rearrange(self.decoder(features, first), "(b t) c h w -> b t c h w", t=t)
        return self._changed(clip[:, -1:], frames) if self.config.residual else frames

    def _changed(self, last: Tensor, read: Tensor) -> Tensor:
        """The last frame (b, 1, c, h, w) moved, faded and changed as the decoder (b, t, ..., h, w) says."""
        if self.config.motion:
            c = self.channels
            last = _moved(last, read[:, :, c : c + 2])
            read = torch.cat([read[:, :, :c], read[:, :, c + 2 :]], 2)
        if self.config.fade:
            read, lost = read[:, :, :-1], (read[:, :, -1:] - FADED).sigmoid()
            last = last * (1 - lost)
        return last + read

    def _padded(self, clip: Tensor) -> Tensor:
        down, right = (-size % self.reduction for size in clip.shape[-2:])
        if not (down or right):
            return clip
        frames = nn.functional.pad(clip.flatten(0, 1), (0, right, 0, down), mode="replicate")
        return frames.unflatten(0, clip.shape[:2])


class ProbabilitySimVP(SimVP):
    """The same with ``probabilities``: frames are sigmoids of what is read out."""

    def __init__(self, config: SimVPConfig):
        super().__init__(config)
        nn.init.constant_(self.decoder.readout.bias, -DARK)  # type: ignore[arg-type]

    def shown(self, read: Tensor) -> Tensor:
        return read.sigmoid()

    def training_loss(self, past: Tensor, future: Tensor, step: Tensor) -> Tensor:  # noqa: ARG002
        """Mean cross-entropy of the future (b, frames_out, c, h, w), values in [0, 1], given the past."""
        read = self._read(past, None)
        return nn.functional.binary_cross_entropy_with_logits(read.float(), future)


def _numbers(config: SimVPConfig) -> tuple[int, int, int]:
    """Frames in, frames out and channels of a config that has been fitted."""
    assert config.frames_in is not None
    assert config.frames_out is not None
    assert config.channels is not None
    return config.frames_in, config.frames_out, config.channels


def _moved(last: Tensor, velocity: Tensor) -> Tensor:
    """Frame k = 1, 2, ... shows at each pixel what was k steps of its velocity (b, t, 2, h, w), pixels a frame, before
    it in the last frame (b, 1, c, h, w): (b, t, c, h, w) in ``last``'s type."""
    t, h, w = velocity.shape[1], *velocity.shape[-2:]
    lead = torch.arange(1, t + 1, device=last.device).view(-1, 1, 1, 1)
    place = pixels(h, w, last.device) - lead * velocity.float()
    frames = last.expand(-1, t, -1, -1, -1).float()
    return sample(frames.flatten(0, 1), place.flatten(0, 1)).unflatten(0, (-1, t)).to(last.dtype)


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
