"""Canonical keypoints as a detector gives them, for training windows: on the device, other detectors every time.

:mod:`moga_st.data.pose.detector_noise` is one detector with fixed parameters, which evaluation uses; here every window
draws its own around those, and what else goes wrong outside: parts of the body unseen, names of another layout, a focal
length that is not quite the camera's.

Lengths are fractions of the person's box, as there.

Shape legend: ``b`` windows, ``t`` frames, ``k`` the 22 canonical keypoints.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moga_st.data.draws import Draws, constant
from moga_st.data.pose.skeleton import CANONICAL, CANONICAL_MIRROR

_AT = {name: i for i, name in enumerate(CANONICAL)}
_HARD = {"Hip": 0.9, "Shoulder": 0.8, "Elbow": 1.1, "Wrist": 1.5, "Knee": 1.0, "Ankle": 1.3}
HARDNESS = tuple(_HARD.get(name[1:] if name[0] in "LR" else "", 0.8) for name in CANONICAL)
"""How hard a keypoint is to find, relative to the others, as in the fixed detector."""

HUMAN36M = tuple(i for i, name in enumerate(CANONICAL) if name not in ("Nose", "LEye", "REye", "LEar", "REar"))
_COCO = tuple(range(17))
SHOWN: dict[str, tuple[tuple[int, ...], float]] = {
    "Human3.6M-17": (HUMAN36M, 0.45),
    "COCO-17, MediaPipe-33": (_COCO, 0.35),
    "BODY_25": ((*_COCO, _AT["Hip"], _AT["Thorax"]), 0.1),
    "Halpe-26": ((*_COCO, _AT["Hip"], _AT["Thorax"], _AT["Head"]), 0.1),
}
"""The keypoints that each layout shows, and the share of windows that have it."""

_FACE = ("Nose", "LEye", "REye", "LEar", "REar")
OCCLUSIONS: dict[str, tuple[str, ...]] = {
    "head": (*_FACE, "Neck/Nose", "Head"),
    "left arm": ("LElbow", "LWrist"),
    "right arm": ("RElbow", "RWrist"),
    "feet": ("LAnkle", "RAnkle"),
    "legs": ("LKnee", "RKnee", "LAnkle", "RAnkle"),
    "left leg": ("LKnee", "LAnkle"),
    "right leg": ("RKnee", "RAnkle"),
    "lower body": ("LHip", "RHip", "Hip", "LKnee", "RKnee", "LAnkle", "RAnkle"),
}
"""What is hidden together."""
_ARMS, _LEGS = ("Shoulder", "Elbow", "Wrist"), ("Hip", "Knee", "Ankle")


def detected(exact: Tensor, inside: Tensor, facing: Tensor, fps: Tensor, draws: Draws, masks: float = 0.35) -> Tensor:
    """Exact rays (b, t, k, 2) as a detector gives them: (b, t, k, 3) with confidence, 0 and the place (0, 0) where a
    keypoint is not seen.

    Args:
        inside: which of them the image holds (b, t, k).
        facing: cosine of the face's direction against the camera's (b, t): from behind, face points are guesses.
        fps: frame rate (b,).
        masks: share of windows in which a part of the body is hidden.
    """
    box = (exact.amax(2) - exact.amin(2)).amax(-1)[..., None, None]  # (b, t, 1, 1)
    error = _error(exact / box, fps, facing, draws)
    spread = draws.log_between("confidence spread", 0.015, 0.06)[:, None, None]
    distance = error.norm(dim=-1) / spread
    confidence = (-distance.square() / 2).exp() * (1 - 0.1 * draws.uniform("confidence", *distance.shape[1:]))
    certain = draws.chance("no confidence", 0.15)[:, None, None]  # files without: all are 1
    confidence = torch.where(certain, 1.0, confidence.clamp(min=0.02))
    bias = draws.normal("bias", 1, len(CANONICAL), 2) * draws.between("bias size", 0.0, 0.012)[:, None, None, None]
    points = torch.cat([exact + (error + bias) * box, confidence[..., None]], -1)
    points = _swapped(points, fps, draws)
    seen = inside & _shown(draws, exact) & ~_hidden(draws, exact, masks)
    return torch.where(seen[..., None], points, 0.0)


def _error(relative: Tensor, fps: Tensor, facing: Tensor, draws: Draws) -> Tensor:
    """Jitter that remembers and grows with speed, and outliers: (b, t, k, 2) in boxes."""
    b, t, k, _ = relative.shape
    memory = draws.between("memory", 0.6, 0.9) ** (50 / fps)  # from frame to frame
    lag = torch.arange(t, device=relative.device)[:, None] - torch.arange(t, device=relative.device)
    remembered = torch.where(lag >= 0, memory[:, None, None] ** lag.clamp(min=0), 0.0)  # (b, t, t)
    fresh = (1 - memory.square()).sqrt()[:, None].expand(-1, t)
    fresh = torch.cat([torch.ones_like(fresh[:, :1]), fresh[:, 1:]], 1)
    noise = draws.normal("jitter", t, k * 2)
    drift = ((remembered * fresh[:, None]) @ noise).view(b, t, k, 2)
    step = relative.diff(dim=1).norm(dim=-1) * fps[:, None, None]  # boxes a second
    step = step if t > 1 else torch.zeros_like(relative[..., 0])
    speed = torch.cat([step[:, :1], step], 1)[:, :t].clamp(max=5.0)
    hardness = constant(HARDNESS, relative.device)
    behind = (facing < -0.2)[..., None] & (torch.arange(k, device=relative.device) < len(_FACE))
    size = draws.log_between("jitter size", 0.003, 0.02)[:, None, None] * hardness * torch.where(behind, 2.0, 1.0)
    size = size * (1 + draws.between("blur", 0.0, 0.3)[:, None, None] * speed)
    start = _event(draws.uniform("outlier", t, k), draws.between("outliers", 0.0, 0.012), fps)
    began = start.clamp(min=0)
    away = 0.3 * draws.uniform("outlier reach", t, k).gather(1, began).sqrt()
    turn = 2 * torch.pi * draws.uniform("outlier direction", t, k).gather(1, began)
    jump = away[..., None] * torch.stack([turn.cos(), turn.sin()], -1)
    return size[..., None] * drift + torch.where(start[..., None] >= 0, jump, 0.0)


def _event(u: Tensor, fraction: Tensor, fps: Tensor) -> Tensor:
    """Events of a tenth of a second that fill a fraction (b,) of the time: uniform (b, t, ...) -> the frame at which
    the event going on began, or -1."""
    length = (0.1 * fps).round().clamp(min=1)
    shape = (-1, *[1] * (u.ndim - 1))
    begin = 1 - (1 - fraction) ** (1 / length)
    frame = torch.arange(u.shape[1], device=u.device).view(1, -1, *[1] * (u.ndim - 2)).expand_as(u)
    last = torch.where(u < begin.view(shape), frame, -1000).cummax(1).values
    return torch.where(frame - last < length.view(shape), last, -1)


def _swapped(points: Tensor, fps: Tensor, draws: Draws) -> Tensor:
    """Arms, or legs, taken for each other in some frames."""
    swaps = _event(draws.uniform("swap", points.shape[1], 2), draws.between("swaps", 0.0, 0.012), fps) >= 0
    columns = list(points.unbind(2))
    for i, limb in enumerate((_ARMS, _LEGS)):
        for j in (_AT[f"{side}{joint}"] for side in "LR" for joint in limb):
            columns[j] = torch.where(swaps[:, :, i, None], points[:, :, CANONICAL_MIRROR[j]], points[:, :, j])
    return torch.stack(columns, 2)


def _shown(draws: Draws, like: Tensor) -> Tensor:
    """Which keypoints the window's layout has: (b, 1, k)."""
    u, total = draws.uniform("layout"), 0.0
    out = torch.zeros(len(like), 1, len(CANONICAL), dtype=torch.bool, device=like.device)
    for keypoints, share in SHOWN.values():
        has = constant(tuple(i in keypoints for i in range(len(CANONICAL))), like.device)
        out = out | (((u >= total) & (u < total + share))[:, None, None] & has)
        total += share
    return out


def _hidden(draws: Draws, like: Tensor, share: float) -> Tensor:
    """Which keypoints are hidden: one or two parts for the whole window, single ones, or all for some frames."""
    b, t = like.shape[:2]
    masked = draws.chance("masked", share)
    out = torch.zeros(b, 1, len(CANONICAL), dtype=torch.bool, device=like.device)
    for name in ("part", "other part"):
        part = (draws.uniform(name) * len(OCCLUSIONS) * (1 if name == "part" else 3)).long()
        for i, names in enumerate(OCCLUSIONS.values()):
            has = constant(tuple(keypoint in names for keypoint in CANONICAL), like.device)
            out = out | ((part == i)[:, None, None] & has)
    single = draws.chance("single", 0.15)[:, None, None] & draws.chance("singles", 0.15, 1, len(CANONICAL))
    first = draws.between("gap", 0, t)
    frame = torch.arange(t, device=like.device)
    gap = (frame >= first[:, None]) & (frame < (first + draws.between("gap length", 1, 8))[:, None])
    gap = gap & draws.chance("gaps", 0.1)[:, None]
    return (masked[:, None, None] & out) | single | gap[:, :, None]
