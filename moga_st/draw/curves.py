"""Curves with intervals, by Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moga_st.draw.files import one_line

COLOURS = ((0, 95, 190), (230, 140, 0), (0, 150, 110), (190, 60, 120), (110, 110, 110), (90, 60, 30))
"""After Okabe and Ito: colour-blind readers tell them apart."""
SIZE, LEFT, RIGHT, TOP, BOTTOM = (720, 440), 64, 20, 34, 52
INK, GRID, PAPER = (40, 40, 40), (225, 228, 232), (255, 255, 255)
SUPER = 2  # drawn this much larger, then averaged down: smooth edges


@dataclass(frozen=True)
class Curve:
    """y over x, with the ends of an interval where they are known; all of one length."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def chart(curves: Sequence[Curve], title: str, x_label: str, y_label: str) -> Image.Image:
    """The curves over common axes, y from 0 up, each with its interval as a band, and their names."""
    xs = np.concatenate([np.asarray(c.x, float) for c in curves])
    ys = np.concatenate([np.asarray([*c.y, *c.high], float) for c in curves])
    left, right, top = xs.min(), max(xs.max(), xs.min() + 1e-9), max(float(ys.max()), 1e-9)
    step = _step(top)
    top = math.ceil(top / step - 1e-9) * step
    width, height = (s * SUPER for s in SIZE)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) * (SIZE[0] - LEFT - RIGHT)
        return SUPER * (LEFT + across), SUPER * (SIZE[1] - BOTTOM - y / top * (SIZE[1] - TOP - BOTTOM))

    image = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(image, "RGBA"), ImageFont.load_default(13 * SUPER)
    for i in range(round(top / step) + 1):
        draw.line([at(left, i * step), at(right, i * step)], GRID, SUPER)
        draw.text((SUPER * (LEFT - 8), at(left, i * step)[1]), f"{i * step:g}", INK, font, anchor="rm")
    for i in range(6):
        x = left + (right - left) * i / 5
        draw.text((at(x, 0)[0], at(x, 0)[1] + 8 * SUPER), f"{x:.3g}", INK, font, anchor="ma")
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        if len(curve.low):
            edge = [at(x, y) for x, y in zip(curve.x, curve.high, strict=True)]
            back = [at(x, y) for x, y in zip(curve.x, curve.low, strict=True)]
            draw.polygon([*edge, *back[::-1]], (*colour, 45))
        points = [at(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
        draw.line(points, colour, 2 * SUPER, joint="curve")
        for x, y in points:
            draw.ellipse([x - 3 * SUPER, y - 3 * SUPER, x + 3 * SUPER, y + 3 * SUPER], colour)
        draw.text(
            (width - RIGHT * SUPER, SUPER * (TOP + 6 + 18 * number)), one_line(curve.name), colour, font, anchor="ra"
        )
    draw.line([at(left, 0), at(right, 0)], INK, SUPER)
    draw.text((SUPER * LEFT, SUPER * 6), title, INK, ImageFont.load_default(15 * SUPER))
    draw.text((width / 2, height - 6 * SUPER), x_label, INK, font, anchor="md")
    draw.text((SUPER * 6, SUPER * (TOP - 8)), y_label, INK, font, anchor="lm")
    return image.resize(SIZE, Image.Resampling.LANCZOS)


def _step(top: float) -> float:
    """Distance of lines that divides 0 to ``top`` into about five, by a round number."""
    raw = top / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * f for f in (1, 2, 5, 10) if raw <= power * f + 1e-12)
