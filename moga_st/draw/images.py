"""Pictures of images and of what a network said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moga_st.draw.files import one_line, save_png

SIDE = 320
"""Pixels that a drawn image's shorter side has at least."""


@dataclass(frozen=True)
class ClassifiedImage:
    """An image with what was said of it, and where on it a heat map lies if there is one."""

    name: str
    title: str
    pixels: np.ndarray
    """uint8 (h, w, c), 1 or 3 channels."""
    heat: np.ndarray | None = None
    """(h, w) in [0, 1], of the image's own size."""
    key: str = ""
    """Which one of its data it is; empty for an image of one's own."""

    def picture(self) -> Image.Image:
        """The image, enlarged by a whole number where it is small, under its title; beside it the heat map over it."""
        rgb = np.broadcast_to(self.pixels, (*self.pixels.shape[:2], 3))
        panels = [rgb] if self.heat is None else [rgb, overlay(rgb, self.heat)]
        image = Image.fromarray(np.ascontiguousarray(np.concatenate(panels, 1)))
        factor = max(1, -(-SIDE // min(self.pixels.shape[:2])))
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        font = ImageFont.load_default(14)
        probe = ImageDraw.Draw(image)
        title = one_line(self.title)
        width = max(image.width, int(probe.textlength(title, font)) + 12)
        out = Image.new("RGB", (width, image.height + 24), "white")
        out.paste(image, (0, 24))
        ImageDraw.Draw(out).text((6, 3), title, "black", font)
        return out

    def save(self, stem: Path) -> list[Path]:
        """Write ``stem``.png."""
        path = stem.with_name(f"{stem.name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, self.picture())
        return [path]


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) under a heat map (h, w) in [0, 1]: from the image in grey (0) over red to yellow (1)."""
    grey = pixels.mean(2, keepdims=True) * 0.6
    t = heat[..., None]
    colour = np.concatenate([np.full_like(t, 255.0), 255.0 * np.clip(2 * t - 1, 0, 1), np.zeros_like(t)], 2)
    weight = np.clip(t * 1.4, 0, 0.85)
    return np.round(grey * (1 - weight) + colour * weight).astype(np.uint8)
