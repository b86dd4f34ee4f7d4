"""A picture of what a lifted joint came from: the 2D input under its heat, and the heat of every joint over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moga_st.data.pose.skeleton import BONES, JOINTS
from moga_st.draw.files import one_line, save_png

SIDE = 380  # pixels of the body's panel
ROW, COLUMNS, NAMES, HEAD, FOOT, GAP = 20, 460, 92, 50, 46, 24  # pixels: a row, all columns, what is around them
PAPER, INK, SOFT, MARK = (255, 255, 255), (40, 40, 40), (110, 110, 110), (0, 95, 190)
STOPS = np.array([(243, 244, 246), (252, 205, 140), (225, 95, 30), (110, 15, 15)], float)
"""From no heat to the most: ever darker, so that it is told without colours too."""


def colour_of(heat: float) -> tuple[int, int, int]:
    """Of a heat in [0, 1]."""
    at = min(max(heat, 0.0), 1.0) * (len(STOPS) - 1)
    low = min(int(at), len(STOPS) - 2)
    red, green, blue = (STOPS[low] + (STOPS[low + 1] - STOPS[low]) * (at - low)).round().astype(int).tolist()
    return red, green, blue


def save_pose_heat(
    stem: Path,
    keypoints_px: np.ndarray,
    heat: np.ndarray,
    frames: Sequence[int],
    frame: int,
    joint: str,
    title: str = "",
) -> list[Path]:
    """Write ``stem``.png.

    Args:
        keypoints_px: the input (n, 17, 2 or more) of the window's frames: x and y in pixels.
        heat: (n, 17) in [0, 1].
        frames: the frames' numbers, for people.
        frame: the number of the one whose joint it is.
        joint: its name.
    """
    body = _body(keypoints_px[list(frames).index(frame), :, :2], heat.max(0), JOINTS.index(joint))
    table = _table(heat, frames, frame, joint)
    image = Image.new("RGB", (body.width + GAP + table.width, 28 + max(body.height, table.height)), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((6, 6), one_line(title), INK, ImageFont.load_default(14))
    image.paste(body, (0, 28))
    image.paste(table, (body.width + GAP, 28))
    path = stem.with_name(f"{stem.name}.png")
    save_png(path, image)
    return [path]


def _body(points: np.ndarray, heat: np.ndarray, joint: int) -> Image.Image:
    """The frame's keypoints (17, 2), each a disc of its highest heat (17,); the joint in question has a ring."""
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE), PAPER)  # drawn larger, then averaged down: smooth edges
    pen = ImageDraw.Draw(image)
    low, high = points.min(0), points.max(0)
    scale = 2 * (SIDE - 2 * 30) / max(float((high - low).max()), 1e-6)
    places = (points - (low + high) / 2) * scale + SIDE
    for a, b in BONES:
        pen.line([tuple(places[a]), tuple(places[b])], (200, 204, 210), 8)
    for j in np.argsort(heat):
        (x, y), radius = places[j], 12 + 14 * float(heat[j])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour_of(float(heat[j])), SOFT, 2)
        if j == joint:
            pen.ellipse((x - radius - 9, y - radius - 9, x + radius + 9, y + radius + 9), None, MARK, 5)
    image = image.reduce(2)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    pen.text((6, 4), f"ring: {JOINTS[joint]}; discs: the most of each keypoint", SOFT, font)
    return image


def _table(heat: np.ndarray, frames: Sequence[int], frame: int, joint: str) -> Image.Image:
    """Heat (n, 17): joints from above, frames from left to right."""
    n, width = len(frames), max(2, COLUMNS // len(frames))
    right, bottom = NAMES + n * width, HEAD + ROW * len(JOINTS)
    image = Image.new("RGB", (right + 40, bottom + FOOT), PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for j, name in enumerate(JOINTS):
        y = HEAD + j * ROW
        pen.text((NAMES - 8, y + ROW / 2), name, MARK if name == joint else INK, font, anchor="rm")
        for i in range(n):
            box = (NAMES + i * width, y, NAMES + (i + 1) * width - 2, y + ROW - 2)
            pen.rectangle(box, colour_of(float(heat[i, j])))
    now = list(frames).index(frame)
    pen.rectangle((NAMES + now * width - 2, HEAD - 2, NAMES + (now + 1) * width, bottom), None, MARK, 2)
    pen.text((NAMES + (now + 0.5) * width, HEAD - 6), f"frame {frame}", MARK, font, anchor="ms")
    for i, anchor in ((0, "la"), (n - 1, "ra")):
        pen.text((NAMES + (i * width if i == 0 else n * width), bottom + 4), f"frame {frames[i]}", SOFT, font, anchor)
    for i in range(100):
        pen.line((NAMES + i, bottom + 26, NAMES + i, bottom + 38), colour_of(i / 99))
    pen.text((NAMES - 8, bottom + 32), "no part", SOFT, font, anchor="rm")
    pen.text((NAMES + 108, bottom + 32), "the most", SOFT, font, anchor="lm")
    return image
