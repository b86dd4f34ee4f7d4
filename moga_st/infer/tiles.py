"""Large frames through a network that was trained on small ones: overlapping tiles, blended so that no seam shows.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from moga_st.data.pose.windows import windows
from moga_st.errors import BadInput

AT_ONCE = 8  # tiles in memory
WHOLE = 4  # frames of so many times the tile's pixels go through the network at once


def predict_frames(net: nn.Module, past: Tensor, frames: int | None, tile: tuple[int, int]) -> Tensor:
    """The future (t_out, c, h, w) of one clip (t, c, h, w), on the CPU; large frames in tiles of about ``tile``, or of
    the only size that an exported network takes.

    Raises:
        BadInput: frames smaller than that, or of another size than the only one whose places the network knows.
    """
    height, width = past.shape[-2:]
    only: tuple[int, int] | None = getattr(net, "only_size", None)
    if only is not None and (height, width) != only:
        raise BadInput(
            f"frames are {height}x{width}, but the exported network knows what is usual at each place of "
            f"{only[0]}x{only[1]} frames; give that as the size"
        )
    device = next(net.parameters(), past).device
    fixed: tuple[int, int] | None = getattr(net, "fixed_size", None)
    if fixed is not None and (height < fixed[0] or width < fixed[1]):
        raise BadInput(
            f"size: the exported network takes frames of {fixed[0]} x {fixed[1]}, these are {height} x {width}; resize "
            "them, or export one for their size"
        )
    tile = fixed or tile
    if (height, width) == fixed or (fixed is None and height * width <= WHOLE * tile[0] * tile[1]):
        return net(past[None].to(device), frames)[0].float().cpu()
    sizes = [min(a, b) for a, b in zip(tile, (height, width), strict=True)]
    starts = [windows(n, size, max(1, size // 2)).tolist() for n, size in zip((height, width), sizes, strict=True)]
    ramps = [_ramp(size) for size in sizes]
    weight = ramps[0][:, None] * ramps[1]
    places = list(product(*starts))
    total, weights = None, torch.zeros(height, width)
    for i in range(0, len(places), AT_ONCE):
        part = places[i : i + AT_ONCE]
        tiles = torch.stack([past[..., y : y + sizes[0], x : x + sizes[1]] for y, x in part])
        predicted = net(tiles.to(device), frames).float().cpu()
        if total is None:
            total = torch.zeros(*predicted.shape[1:3], height, width)
        for (y, x), one in zip(part, predicted, strict=True):
            total[..., y : y + sizes[0], x : x + sizes[1]] += weight * one
            weights[y : y + sizes[0], x : x + sizes[1]] += weight
    assert total is not None
    return total.div_(weights)


def _ramp(size: int) -> Tensor:
    """Weights that fall linearly from the middle of a tile, where a network sees most, to its ends."""
    place = torch.arange(1.0, size + 1)
    return torch.minimum(place, size + 1 - place)
