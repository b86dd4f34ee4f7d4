"""Grad-CAM (arXiv 1610.02391): where on an input a network found what it says.

Shape legend: ``b`` inputs, ``c`` channels of the map, ``h w`` its size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradcam(net: nn.Module, layer: nn.Module, inputs: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Heat maps of what raises ``score``: (b, h, w) in [0, 1] at the size of ``layer``'s output.

    The map's channels are weighted by the mean gradient of the score over positions, summed, and what lowers the score
    is cut off; each map is scaled by its own maximum.

    Args:
        net: in evaluation mode; it works for any network with such a layer: a classifier, a video model (the score
            being the brightness of a region of a predicted frame), a lifter (a joint's coordinate).
        layer: a module within ``net`` whose output is a map (b, c, h, w), or (b t, c, h, w) for one that works a frame
            at a time.
        inputs: what ``net`` takes.
        score: of the network's output, one number for each of the b inputs: (b,).

    Returns:
        As many maps as the layer's output has.
    """
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, out: kept.append(out))  # type: ignore[arg-type]
    try:
        with torch.enable_grad():
            # where all weights are frozen the gradient must still reach the map
            out = net(inputs.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(score(out).sum(), kept[-1])
    finally:
        hook.remove()
    weights = gradient.mean((2, 3), keepdim=True)
    maps = (weights * kept[-1]).sum(1).relu().detach()
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def spread(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Heat maps (b, h, w) at another size (bilinear): (b, *size)."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)
