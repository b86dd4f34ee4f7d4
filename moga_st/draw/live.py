"""What a window shows while people are lifted live: the camera's frame with one person's keypoints, and the pose."""

from __future__ import annotations

import numpy as np

from moga_st.draw.pose import BLUE, ORANGE, PANEL, VIEWPOINTS, Scene, draw_2d, draw_3d, sheet_of

SCENE = Scene(PANEL / 2.6, -1.0, 0.8, -0.05)
"""Of the 3D panels: 2.6 m high, so that a grown-up with raised arms fits, and the floor a metre under the hip."""


def live_sheet(
    image: np.ndarray, keypoints_px: np.ndarray | None = None, pose_m: np.ndarray | None = None, title: str = ""
) -> np.ndarray:
    """A picture (h, w, 3) uint8 of the frame and of a person's pose about the hip, or of the frame alone.

    Args:
        image: the frame (h, w, 3).
        keypoints_px: (17, 3).
        pose_m: (17, 3): x right, y away from the camera, z up.
        title: the line above.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    window = ((width - side) // 2, (height - side) // 2, side)
    panels = [draw_2d(keypoints_px, (width, height), window, image)]
    if pose_m is not None:
        panels += [draw_3d(pose_m - pose_m[:1], SCENE, view) for view in VIEWPOINTS]
    return np.asarray(sheet_of([panels], title, [("right", ORANGE), ("left", BLUE)]))
