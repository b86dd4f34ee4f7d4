"""What of a file's coordinates cannot be meant as it stands: fractions for pixels, strays, bodies that lie or hang."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moga_st.data.pose.skeleton import JOINTS
from moga_st.errors import BadInput

LARGEST_PX = 100_000  # of an image's side
FASTEST_FPS, SLOWEST_FPS = 100_000.0, 0.01
STRAY = 1.0  # of the image's longer side: a joint farther outside is a detector's slip


def check_size(path: Path, size_px: tuple[int, int] | None) -> tuple[int, int]:
    """
    Raises:
        BadInput: unknown, or no image's size.
    """
    if size_px is None:
        raise BadInput(f"{path}: does not say how large the image is; give its width and height with `size_px`")
    if min(size_px) < 1 or max(size_px) > LARGEST_PX:
        raise BadInput(f"{path}: an image's size must be 1 to {LARGEST_PX} px, got {size_px[0]}x{size_px[1]}")
    return size_px


def check_fps(path: Path, fps: float | None) -> None:
    """
    Raises:
        BadInput: given and no frame rate.
    """
    if fps is not None and not 0 < fps <= FASTEST_FPS:
        raise BadInput(f"{path}: the frame rate must be positive and at most {FASTEST_FPS:g}, got {fps}")


def check_step(path: Path, step: int, rate: float) -> None:
    """
    Raises:
        BadInput: frames numbered in steps of ``step`` are too far apart, at ``rate`` a second, for those of a video.
    """
    if rate < SLOWEST_FPS:
        raise BadInput(
            f"{path}: its frames are numbered in steps of {step:,}, {1 / rate:,.0f} s from one to the next; "
            "number them as the video's frames, not by time"
        )


def in_pixels(points: np.ndarray, size_px: tuple[int, int], normalised: bool) -> tuple[np.ndarray, str]:
    """Points (n, j, 3) in pixels, and what was done: fractions of the image, as the format has them (``normalised``) or
    as they look (nothing seen beyond -0.5 to 1.5, and most of it within 0 to 1), are scaled."""
    xy = points[..., :2][np.isfinite(points[..., :2]).all(-1)]
    looks = len(xy) > 0 and bool((np.abs(xy - 0.5) <= 1.0).all() and ((xy >= 0) & (xy <= 1)).mean() > 0.5)
    if not (looks or (normalised and len(xy))):
        return points, ""
    scale = np.array([*size_px, 1.0])
    return points * scale, f"coordinates from 0 to 1 scaled to {size_px[0]}x{size_px[1]} px"


def without_strays(points: np.ndarray, size_px: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Points (n, j, 3) with those missing that lie farther outside the image than :data:`STRAY`; how many these are."""
    margin = STRAY * max(size_px)
    with np.errstate(invalid="ignore"):
        stray = ((points[..., :2] < -margin) | (points[..., :2] > np.array(size_px) + margin)).any(-1)
    if not stray.any() or stray.sum() > np.isfinite(points[..., :2]).all(-1).sum() / 2:
        return points, ""  # if most are, it is the size that is wrong: see check_inside
    out = points.copy()
    out[stray] = (np.nan, np.nan, 0.0)
    return out, f"{int(stray.sum()):,} joints far outside the image count as missing"


def check_inside(path: Path, xy_px: np.ndarray, size_px: tuple[int, int]) -> None:
    """
    Raises:
        BadInput: most of the points (n, 2) lie outside the image, or all at its corner.
    """
    if np.abs(xy_px).max() <= 2:
        raise BadInput(f"{path}: the coordinates look normalised (all within 2); give them in pixels")
    outside = ((xy_px < 0) | (xy_px > size_px)).any(-1).mean()
    width, height = size_px
    turned = ((xy_px < 0) | (xy_px > (height, width))).any(-1).mean()
    if outside > 0.5 and turned < 0.1 and width != height:
        raise BadInput(
            f"{path}: {outside:.0%} of the keypoints lie outside an image of {width}x{height}, but they fit "
            f"{height}x{width}: the video was turned by 90 degrees when they were found; give "
            f"`size_px` {height} {width}, and no turned video"
        )
    if outside > 0.5:
        raise BadInput(
            f"{path}: {outside:.0%} of the keypoints lie outside an image of {size_px[0]}x{size_px[1]}; give its true "
            "size with `size_px`"
        )


def posture_warning(points: np.ndarray) -> str:
    """What looks wrong with how a body is turned in the image, from its Human3.6M-17 points (t, 17, 3), NaN where
    unseen; nothing for one that is upright most of the time."""
    hips, shoulders = points[:, [JOINTS.index("Hip")], :2], points[:, [JOINTS.index("Thorax")], :2]
    feet = points[:, [JOINTS.index("LFoot"), JOINTS.index("RFoot")], :2]
    torso = (hips - shoulders)[:, 0]
    legs = (np.where(np.isfinite(feet), feet, np.nan) - hips).mean(1)
    seen = np.isfinite(torso).all(-1)
    if seen.sum() < 3:
        return ""
    down, across = torso[seen, 1], np.abs(torso[seen, 0])
    legs_down = legs[seen, 1]
    if np.mean((down < -across) & ~(legs_down > 0)) > 0.7:
        return (
            "the body is upside down in the image: if it was not filmed so, y is counted upwards, or the video was "
            "turned by 180 degrees when the joints were found"
        )
    if np.mean(across > 1.5 * np.abs(down)) > 0.8:
        return (
            "the body lies on its side in the image: if it was not filmed so, the video was turned by 90 degrees when "
            "the joints were found"
        )
    return ""
