"""What one input of a network is: made by the data, asked by whoever builds, times, draws or exports a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from moga_st.config import Config
from moga_st.errors import BadInput


@dataclass(frozen=True)
class InputSpec(Config, kind="input"):
    """Shapes, channels, scale and rate of what a network takes and gives; it travels with the weights.

    Raises:
        BadInput: sizes below 1, or as many means or standard deviations as fit no channel count.
    """

    shape: tuple[int | None, ...]
    """One input without batch: a clip (t, c, h, w), keypoints (t, j, c), an image (c, h, w). None where unknown."""
    target: tuple[int | None, ...] = ()
    """One output: a clip (t_out, c, h, w), poses (t, j, 3), class scores (n,)."""
    channels: tuple[str, ...] = ()
    """Names of the channels: grey; red, green, blue; u, v; x, y, confidence."""
    mean: tuple[float, ...] = (0.0,)
    """A network sees (value - mean) / std; one a channel, or one for all."""
    std: tuple[float, ...] = (1.0,)
    """See `mean`."""
    unit: str = ""
    """Of a value, such as m/s; empty for frames in [0, 1]."""
    fps: float | None = None
    """Frames a second; None where it is unknown or means nothing."""
    anomalies: str | None = None
    """What values are anomalies of, in units of `std`: the bins of a climatology that travels with the weights, such as
    month (:data:`moga_st.models.baselines.BINS`), or empty for one usual frame; None where they are no anomalies. A
    network then sees (value - usual) / std, and `mean` is unused."""

    def __post_init__(self) -> None:
        for name in ("shape", "target"):
            if any(size is not None and size < 1 for size in getattr(self, name)):
                raise BadInput(f"input {name}: expected sizes of at least 1, got {getattr(self, name)}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, len(self.channels) or 1) or not all(map(math.isfinite, values)):
                raise BadInput(f"input {name}: expected one finite number or one a channel, got {values}")
        if min(self.std) <= 0:
            raise BadInput(f"input std: expected more than 0, got {self.std}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise BadInput(f"input fps: expected more than 0, got {self.fps}")


def agreed(what: str, own: int | None, given: int | None, default: int) -> int:
    """A number that both a network's config and the data may name: ``own`` is the config's, ``given`` the data's.

    Raises:
        BadInput: they name different ones.
    """
    if own is not None and given is not None and own != given:
        raise BadInput(f"{what}: the model has {own}, the data {given}; leave the model's out, and it takes the data's")
    return own if own is not None else given if given is not None else default
