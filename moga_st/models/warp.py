"""Images moved by displacements of their pixels.

Shape legend: ``b`` images, ``c`` channels, ``h w`` size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixels(h: int, w: int, device: torch.device | None = None) -> Tensor:
    """Where the pixels of an image are: (2, h, w) float32, y and x."""
    ends = (torch.arange(n, device=device, dtype=torch.float32) for n in (h, w))
    return torch.stack(torch.meshgrid(*ends, indexing="ij"))


def sample(image: Tensor, place: Tensor) -> Tensor:
    """Bilinear values of (b, c, h, w) at pixels (b, 2, h, w), y and x; outside, the edge's."""
    h, w = image.shape[-2:]
    y, x = place.unbind(1)
    # grid_sample wants x before y, and the image from -1 to 1
    grid = torch.stack([(x + 0.5) * (2 / w) - 1, (y + 0.5) * (2 / h) - 1], -1)
    return torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
