"""Which metrics a kind of video is scored by, and their conventions.

Shape legend: ``b`` windows, ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from moga_st.metrics import video
from moga_st.spec import InputSpec


class Scorer(Protocol):
    """All metrics of one kind of video; the first is the one that matters most, lower is better."""

    conventions: ClassVar[dict[str, str]]
    """What each metric means, for records."""

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:
        """Predicted and true frames (b, t, c, h, w), as a network sees them -> (b, t) a metric."""
        ...


class FrameScorer:
    """Images in [0, 1], in the field's conventions (:mod:`moga_st.metrics.video`)."""

    conventions: ClassVar[dict[str, str]] = {
        "mse": "mean over sequences and frames of the squared error summed over c, h, w; before clipping",
        "mae": "mean over sequences and frames of the absolute error summed over c, h, w; before clipping",
        "psnr": "mean over frames of -10 log10(per-frame mean squared error), clipped to [0, 1]; dB",
        "ssim": "scikit-image's SSIM with data_range=1, clipped to [0, 1]",
        "ssim_published": "the same with data_range=2, as the published Moving MNIST tables have it",
        "lpips": "LPIPS with AlexNet, clipped to [0, 1]",
    }

    def __init__(self) -> None:
        self._lpips: video.LPIPS | None = None

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        wanted: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "mse": video.mse,
            "mae": video.mae,
            "psnr": video.psnr,
        }
        if min(pred.shape[-2:]) >= video.SSIM_WINDOW:  # smaller frames have no SSIM
            wanted["ssim"] = video.ssim
            wanted["ssim_published"] = lambda x, y: video.ssim(x, y, video.SSIM_RANGE_PUBLISHED)
        if lpips:
            self._lpips = self._lpips or video.LPIPS(pred.device)
            wanted["lpips"] = self._lpips
        return {name: metric(pred, true) for name, metric in wanted.items()}


class FieldScorer:
    """Physical fields, in their unit: wind, temperature, rain."""

    conventions: ClassVar[dict[str, str]] = {
        "mse": "mean over windows, frames and c, h, w of the squared error, in the data's unit squared",
        "mae": "mean over windows, frames and c, h, w of the absolute error, in the data's unit",
        "mse CHANNEL": "the same of one channel",
    }

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        scale = torch.tensor(spec.std, dtype=torch.float64, device=pred.device).view(-1, 1, 1)
        error = (pred.double() - true.double()) * scale
        scores = {"mse": error.square().mean((-3, -2, -1)), "mae": error.abs().mean((-3, -2, -1))}
        if len(spec.channels) > 1:
            each = error.square().mean((-2, -1))
            scores |= {f"mse {name}": each[..., i] for i, name in enumerate(spec.channels)}
        return scores
