"""Grad-CAM (arXiv 1610.02391), and HiResCAM (arXiv 2011.08891) where every place of a map has its own part in the
output: where on an input a network found what it says.

Shape legend: ``b`` inputs, ``c`` channels of the map, ``h w`` its size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st.errors import BadInput
from moga_st.models.lifter import HIP, JOINT_COUNT, JointGrid
from moga_st.models.simvp import SimVP


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
    value, gradient = _value_and_gradient(net, layer, inputs, score)
    maps = (gradient.mean((2, 3), keepdim=True) * value).sum(1).relu()
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def hirescam(net: nn.Module, layer: nn.Module, inputs: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """As :func:`gradcam`, but each place of a channel is weighted by its own gradient, not by the channel's mean, and
    all maps together have one scale, so that the frames of a clip can be compared."""
    value, gradient = _value_and_gradient(net, layer, inputs, score)
    maps = (gradient * value).sum(1).relu()
    return maps / maps.max().clamp(min=torch.finfo(maps.dtype).tiny)


def _value_and_gradient(
    net: nn.Module, layer: nn.Module, inputs: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """What ``layer`` gives, and the score's gradient by it."""
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, out: kept.append(out))  # type: ignore[arg-type]
    try:
        with torch.enable_grad():
            # where all weights are frozen the gradient must still reach the map
            out = net(inputs.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(score(out).sum(), kept[-1])
    finally:
        hook.remove()
    return kept[-1].detach(), gradient


def clip_cam(net: SimVP, past: Tensor, frame: int = 1) -> Tensor:
    """What a predicted frame came from, by HiResCAM: heat maps (t, h, w) of a clip (t, c, h, w), together in [0, 1].

    The score is the frame's brightness, and the map what the encoder hands on of each frame; all have one scale, so
    that frames can be compared.

    Args:
        frame: counted from 1.

    Raises:
        BadInput: the network does not predict so many frames at once.
    """
    if not 1 <= frame <= net.frames_out:
        raise BadInput(f"frame: expected 1 to {net.frames_out}, got {frame}")
    maps = hirescam(net, net.encoder.layers[-1], past[None], lambda out: out[:, frame - 1].sum((1, 2, 3)))
    height, width = (side * net.reduction for side in maps.shape[1:])
    maps = spread(maps, (height, width))
    return maps[:, : past.shape[2], : past.shape[3]]


def pose_cam(net: JointGrid, keypoints: Tensor, joint: int, at: int | None = None) -> Tensor:
    """What a lifted joint came from, by HiResCAM: heat (t, 17) in [0, 1] of the joints of a window's keypoints.

    The score is the joint's distance from the hip, and the map the embedded keypoints; frames that share a position of
    the network's grid have one value, and face points are those of the head's two joints.

    Args:
        keypoints: (t, k, c), a window as the network takes it.
        at: which of the poses that the network gives; the middle one if left out.

    Raises:
        BadInput: no such joint.
    """
    if not 0 <= joint < JOINT_COUNT:
        raise BadInput(f"joint: expected 0 to {JOINT_COUNT - 1}, got {joint}")

    def distance(out: Tensor) -> Tensor:
        pose = out[:, out.shape[1] // 2 if at is None else at]
        return (pose[:, joint] - pose[:, HIP]).norm(dim=-1)

    maps = hirescam(net, net.grid, keypoints[None], distance)[0]  # (positions, joints as they lie on the grid)
    return maps.index_select(1, net.inverse).repeat_interleave(net.patch, 0)[: len(keypoints)]


def spread(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Heat maps (b, h, w) at another size (bilinear): (b, *size)."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)
