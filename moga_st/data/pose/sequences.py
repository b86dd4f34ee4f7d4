"""Views of motion clips as sequences of keypoints and targets on the device, one frame after the other.

Shape legend: ``n`` frames of all sequences (a sequence is one camera's view of a clip), ``b`` windows, ``t`` frames of
a window, 17 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.errors import BadInput


@dataclass(frozen=True, eq=False)
class Seen:
    """One view of a clip as a protocol has it."""

    keypoints_px: Tensor  # (t, 17, 2 or 3), with a confidence
    size_px: Tensor  # (2,) or (t, 2): width, height
    target: Tensor  # (t, 17, 3) what the model learns, root-relative
    truth_mm: Tensor  # (t, 17, 3) root-relative
    to_mm: Tensor  # (t,) model unit to millimetres


@dataclass(frozen=True, eq=False)
class Shown:
    """What a picture of a sequence needs."""

    keypoints_px: np.ndarray  # (t, 17, 2 or 3)
    size_px: tuple[int, int]
    fps: float
    name: str


@dataclass(frozen=True, eq=False)
class Sequences:
    """Views of clips, frame after frame, on the device."""

    keypoints: Tensor  # (n, 17, 2 or 3) normalised screen coordinates
    target: Tensor  # (n, 17, 3) what the model learns, root-relative
    first: Tensor  # (n,) number of the first frame of the sequence that the frame is in
    last: Tensor  # (n,) number of its last frame
    moves: Tensor  # (n,) whether the frame before belongs to the same sequence, a frame's time away
    truth_mm: Tensor  # (n, 17, 3) root-relative
    to_mm: Tensor  # (n,) model unit to millimetres
    action: list[str]  # of each sequence
    bounds: list[tuple[int, int]]  # first and last + 1 of each sequence
    shown: list[Shown]  # of each sequence

    def rows(self, centre: Tensor, member: Tensor, length: int) -> Tensor:
        """Frames (b, length) around ``centre`` (b,), clamped to the sequence that the frame ``member`` is in."""
        reach = length // 2
        rows = centre[:, None] + torch.arange(-reach, reach + 1, device=centre.device)
        return rows.clamp(self.first[member][:, None], self.last[member][:, None])


def sequences(
    clips: Iterable[MotionClip], see: Callable[[MotionClip, str, int], Seen], length: int, device: torch.device
) -> Sequences:
    """All views of ``clips``; ``see`` gives one by clip, name and number.

    Raises:
        BadInput: windows of more than one frame of a clip whose frames are not evenly spaced.
    """
    seen, moves, bounds, action, shown, n = [], [], [], [], [], 0
    for clip in clips:
        if not clip.evenly_spaced and length > 1:
            raise BadInput(f"clip {clip.name}: its frames are not evenly spaced, so task.frames must be 1")
        for number, view in enumerate(clip.views):
            one = see(clip, view, number)
            seen.append(one)
            moves.append(torch.full((len(one.target),), clip.evenly_spaced))
            moves[-1][0] = False
            bounds.append((n, n + len(one.target)))
            action.append(clip.action)
            width, height = (int(v) for v in one.size_px.reshape(-1, 2)[0])
            name = f"{clip.action} ({clip.name}, {view})"
            shown.append(Shown(one.keypoints_px.numpy(), (width, height), clip.fps, name))
            n += len(one.target)
    lengths = torch.tensor([b - a for a, b in bounds])
    first = torch.tensor([a for a, _ in bounds]).repeat_interleave(lengths)
    last = torch.tensor([b - 1 for _, b in bounds]).repeat_interleave(lengths)
    keypoints = torch.cat([normalise_screen(x.keypoints_px, x.size_px) for x in seen]).float()
    target, truth, to_mm = (torch.cat([getattr(x, k) for x in seen]).float() for k in ("target", "truth_mm", "to_mm"))
    k, y, a, b, moving, mm, scale = (
        x.to(device) for x in (keypoints, target, first, last, torch.cat(moves), truth, to_mm)
    )
    return Sequences(k, y, a, b, moving, mm, scale, action, bounds, shown)
