"""Which metrics a kind of video is scored by, and their conventions.

Shape legend: ``b`` windows, ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from moga_st.metrics import rain, video, weather
from moga_st.spec import InputSpec


class Scorer(Protocol):
    """All metrics of one kind of video; the first is the one that matters most, lower is better."""

    conventions: ClassVar[dict[str, str]]
    """What each metric means, for records."""

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:
        """Predicted and true frames (b, t, c, h, w), as a network sees them -> (b, t) a term."""
        ...

    def finish(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The metrics, from the terms' means over all windows, or over windows and frames; of any shape."""
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
        scores = {"mse": video.mse(pred, true), "mae": video.mae(pred, true), "psnr": video.psnr(pred, true)}
        if min(pred.shape[-2:]) >= video.SSIM_WINDOW:  # smaller frames have no SSIM
            ranges = (video.SSIM_RANGE, video.SSIM_RANGE_PUBLISHED)
            scores["ssim"], scores["ssim_published"] = video.ssim_by_range(pred, true, ranges)
        if lpips:
            self._lpips = self._lpips or video.LPIPS(pred.device)
            scores["lpips"] = self._lpips(pred, true)
        return scores

    def finish(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return terms


class FieldScorer:
    """Physical fields, in their unit: wind, temperature, rain."""

    conventions: ClassVar[dict[str, str]] = {
        "mse": "mean over windows, frames and c, h, w of the squared error, in the data's unit squared",
        "mae": "mean over windows, frames and c, h, w of the absolute error, in the data's unit",
        "rmse": "root of mse",
        "mse CHANNEL, mae CHANNEL, rmse CHANNEL": "those of one channel, in its unit",
    }

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        scale = torch.tensor(spec.std, dtype=torch.float64, device=pred.device).view(-1, 1, 1)
        pred, true = pred.double() * scale, true.double() * scale  # the means cancel in every error
        scores = {"mse": weather.mse_published(pred, true), "mae": weather.mae_published(pred, true)}
        if len(spec.channels) > 1:
            for name, each in (("mse", weather.mse(pred, true)), ("mae", weather.mae(pred, true))):
                scores |= {f"{name} {channel}": each[..., i] for i, channel in enumerate(spec.channels)}
        return scores

    def finish(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        roots = {k.replace("mse", "rmse"): weather.rmse(v) for k, v in terms.items() if k.startswith("mse")}
        return {
            "mse": terms["mse"],
            "rmse": roots["rmse"],
            **{k: v for k, v in {**terms, **roots}.items() if k != "mse"},
        }


class RainScorer:
    """Rain and other fields that are or are not above a threshold (:mod:`moga_st.metrics.rain`), beside the errors of
    :class:`FieldScorer`.

    Args:
        thresholds: in the data's unit.
        window: side of the neighbourhood of the fractions skill score, in pixels.
    """

    conventions: ClassVar[dict[str, str]] = {
        **FieldScorer.conventions,
        "csi T, pod T, far T": "hits / (hits + misses + false alarms), hits / (hits + misses), false alarms / (hits + "
        "false alarms) of events at or above T, counts pooled over all windows and pixels",
        "csi": "mean of csi T over the thresholds (CSI-M)",
        "fss T": "fractions skill score of events at or above T in squares of WINDOW pixels, pooled",
    }

    def __init__(self, thresholds: tuple[float, ...], window: int = 5):
        self.thresholds, self.window = thresholds, window
        self._fields = FieldScorer()

    def __call__(self, pred: Tensor, true: Tensor, spec: InputSpec, lpips: bool = False) -> dict[str, Tensor]:
        terms = self._fields(pred, true, spec, lpips)
        mean, std = (
            torch.tensor(v, dtype=pred.dtype, device=pred.device).view(-1, 1, 1) for v in (spec.mean, spec.std)
        )
        pred, true = pred * std + mean, true * std + mean
        counts = rain.event_counts(pred, true, self.thresholds)  # (b, t, k, 3)
        parts = rain.fss_parts(pred, true, self.thresholds, self.window)  # (b, t, k, 2)
        for i, threshold in enumerate(self.thresholds):
            for j, name in enumerate(("hits", "misses", "false alarms")):
                terms[f"{name} {threshold:g}"] = counts[..., i, j]
            for j in range(parts.shape[-1]):
                terms[f"fss part {j} {threshold:g}"] = parts[..., i, j]
        return terms

    def finish(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = self._fields.finish({k: v for k, v in terms.items() if k.startswith(("mse", "mae"))})
        each = {}
        for threshold in (f"{t:g}" for t in self.thresholds):
            counts = torch.stack([terms[f"{name} {threshold}"] for name in ("hits", "misses", "false alarms")], -1)
            parts = torch.stack([terms[f"fss part {j} {threshold}"] for j in range(2)], -1)
            each[f"csi {threshold}"], each[f"pod {threshold}"] = rain.csi(counts), rain.pod(counts)
            each[f"far {threshold}"], each[f"fss {threshold}"] = rain.far(counts), rain.fss(parts)
        csi = torch.stack([v for k, v in each.items() if k.startswith("csi")])
        return {**scores, "csi": csi.nanmean(0), **each}
