"""A video network of anybody's, asked for as many frames as are wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moga_st.spec import InputSpec


class RollOut(nn.Module):
    """(b, t_in, c, h, w) -> (b, frames, c, h, w) by a network that maps clips to clips of one length.

    Asked for fewer frames than the network gives, it truncates them; asked for more, it takes the last ``t_in``
    frames, the network's own among them, as the next input.  SimVP does this itself.
    """

    def __init__(self, net: nn.Module, spec: InputSpec):
        super().__init__()
        if not maps_clips(spec):
            raise ValueError(f"expected a network of clips, got inputs of {spec.shape} and outputs of {spec.target}")
        self.net = net
        self.frames_in, self.channels = (size or 1 for size in spec.shape[:2])
        self.frames_out = spec.target[0] or 1

    def forward(self, clip: Tensor, frames: int | None = None) -> Tensor:
        wanted = self.frames_out if frames is None else frames
        made = self.net(clip)
        while made.shape[1] < wanted:
            recent = torch.cat([clip, made], dim=1)[:, -self.frames_in :]
            made = torch.cat([made, self.net(recent)], dim=1)
        return made[:, :wanted]


def maps_clips(spec: InputSpec) -> bool:
    """Whether inputs and outputs are clips of known lengths and channels."""
    return len(spec.shape) == len(spec.target) == 4 and None not in (*spec.shape[:2], *spec.target[:2])
