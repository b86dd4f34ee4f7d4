"""Keypoints of any length through a lifter of a fixed length.  `lift` and the evaluation of pose lifting share it.

Shape legend: ``n`` frames, ``b`` windows, ``t`` frames of a window, 17 joints, ``c`` channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.data.pose.skeleton import flip
from moga_st.data.pose.windows import blend, windows


@torch.no_grad()
def lift_windows(net: nn.Module, keypoints: Tensor, rows: Tensor, batch: int, mirrored: bool) -> Iterator[Tensor]:
    """What ``net`` makes of the windows ``rows`` (b, t) of ``keypoints`` (n, 17, c): (up to ``batch``, t or 1, 17, 3)
    at a time.  ``mirrored``: each is averaged with the mirror image of what it makes of the mirrored window, which an
    exported lifter does itself."""
    mirrored = mirrored and not getattr(net, "mirrored", False)
    for part in rows.split(batch):
        x = keypoints[part]
        pred = net(x).float()
        yield (pred + flip(net(flip(x)).float())) / 2 if mirrored else pred


@torch.no_grad()
def gives_centre(net: nn.Module, keypoints: Tensor, length: int) -> bool:
    """Whether ``net`` makes of a window of ``keypoints`` (n, 17, c) the pose of its centre frame alone."""
    return net(keypoints[:1].expand(length, -1, -1)[None]).shape[1] == 1


@torch.no_grad()
def lift_overlapping(net: nn.Module, keypoints: Tensor, length: int, batch: int, overlap: bool = True) -> np.ndarray:
    """Poses (n, 17, 3) of one person's keypoints (n, 17, c): windows overlap by half and are blended, or lie side by
    side without ``overlap``; predictions are averaged with those of the mirror image.  A network that gives the centre
    frame sees a window around each frame."""
    n = len(keypoints)
    centre_only = gives_centre(net, keypoints, length)
    if centre_only:
        starts = np.arange(n) - length // 2
    else:
        starts = windows(n, length, max(1, length // 2)) if overlap else np.arange(0, n, length)
    # beyond the ends, the first or last frame is repeated
    rows = torch.from_numpy(np.clip(starts[:, None] + np.arange(length), 0, n - 1)).to(keypoints.device)
    poses = torch.cat([p.cpu() for p in lift_windows(net, keypoints, rows, batch, mirrored=True)]).numpy()
    return poses[:, 0] if centre_only else blend(poses, starts, n)
