"""A made-up person who walks across the image, as any program would write them."""

from __future__ import annotations

import numpy as np

from moga_st.data.pose.skeleton import H36M17, Layout

SIZE = (1000, 800)
#: x right and y down in pixels, seen from the front; the person's left is at our right
FRONT = {
    **{"Hip": (0, 0), "Spine": (0, -40), "Thorax": (0, -80), "Neck/Nose": (0, -100), "Head": (0, -122)},
    **{"HeadBottom": (0, -90), "Nose": (0, -103), "LEye": (5, -108), "LEar": (11, -105), "LShoulder": (24, -80)},
    **{"LElbow": (34, -38), "LWrist": (30, 2), "LHip": (20, 0), "LKnee": (21, 68), "LAnkle": (22, 134)},
    **{"LHeel": (21, 140), "LBigToe": (26, 144), "LSmallToe": (30, 143), "LFootIndex": (27, 144), "LMouth": (3, -97)},
    **{"LEyeInner": (3, -108), "LEyeOuter": (7, -108), "LPinky": (31, 10), "LIndex": (30, 11), "LThumb": (27, 8)},
}
SAME = {"Neck": "Thorax", "MidHip": "Hip", "LFoot": "LAnkle", "RFoot": "RAnkle"}


def place(name: str) -> tuple[float, float]:
    name = SAME.get(name, name)
    if name in FRONT:
        return FRONT[name]
    x, y = FRONT[f"L{name[1:]}"]
    return -x, y


def walker(layout: Layout, t: int, x: float = 300.0, tall: float = 1.0, speed: float = 3.0) -> np.ndarray:
    """Keypoints (t, j, 3) of a person who walks right by ``speed`` pixels a frame, with confidence 0.9; legs and arms
    swing in turn."""
    shape = np.array([place(name) for name in layout.joints], float)
    step = np.sin(np.arange(t) / 8)[:, None]
    side = np.array([{"L": 1.0, "R": -1.0}.get(n[0], 0.0) if n not in ("Hip", "Head") else 0.0 for n in layout.joints])
    along = np.clip(shape[:, 1], -60, None) * (shape[:, 1] > -60)
    xy = np.repeat(shape[None], t, 0)
    xy[..., 0] += step * side * along * 0.25
    xy = xy * tall + (x, 400.0)
    xy[..., 0] += speed * np.arange(t)[:, None]
    return np.concatenate([xy, np.full((t, len(shape), 1), 0.9)], axis=-1)


def truth(t: int, **options: float) -> np.ndarray:
    """The same person's Human3.6M-17 joints."""
    return walker(H36M17, t, **options)
