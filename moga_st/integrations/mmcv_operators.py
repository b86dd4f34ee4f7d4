"""mmcv's operators that detectors need, by torchvision's: what mmcv-lite lacks and no compiler is needed for.

They take and give what mmcv's own do (``mmcv.ops``, 2.1); :func:`moga_st.integrations.mmpose_import.mmcv_ops` puts
them in its place.

Shape legend: ``n`` boxes, left, top, right, bottom; ``r`` regions, each a box after its image's number.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torchvision.ops
from torch import Tensor, nn


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    offset: int = 0,
    score_threshold: float = 0.0,
    max_num: int = -1,
) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression: boxes (n, 4) and scores (n,) -> those kept, (k, 5) with their scores, and their
    numbers, the highest score first."""
    if offset:
        raise NotImplementedError("nms: boxes that end on their last pixel (offset 1) need the compiled mmcv")
    numbers = torch.arange(len(boxes), device=boxes.device)
    if score_threshold > 0:
        numbers = numbers[scores > score_threshold]
    kept = numbers[torchvision.ops.nms(boxes[numbers].float(), scores[numbers].float(), iou_threshold)]
    kept = kept[:max_num] if max_num > 0 else kept
    return torch.cat([boxes[kept], scores[kept, None]], 1), kept


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: dict[str, Any] | None, class_agnostic: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`nms` among the boxes of each class ``idxs`` (n,); without a config all of them, by their scores."""
    if nms_cfg is None:
        order = scores.argsort(descending=True)
        return torch.cat([boxes[order], scores[order, None]], 1), order
    options = {k: v for k, v in nms_cfg.items() if k != "split_thr"}  # what a GPU's memory is spared by
    kind, class_agnostic = options.pop("type", "nms"), options.pop("class_agnostic", class_agnostic)
    if kind != "nms":
        raise NotImplementedError(f"{kind} needs the compiled mmcv; mmcv-lite is installed")
    apart = boxes
    if not class_agnostic and len(boxes):  # boxes of different classes are moved so that they never meet
        apart = boxes + (idxs.to(boxes) * (boxes.max() + 1))[:, None]
    found, kept = nms(apart, scores, **options)
    return torch.cat([boxes[kept], found[:, 4:]], 1), kept


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    pool_mode: str = "avg",
    aligned: bool = True,
) -> Tensor:
    """Maps (b, c, h, w) and regions (r, 5) -> what is in each, (r, c, *output_size)."""
    if pool_mode != "avg":
        raise NotImplementedError(f"RoIAlign's pool_mode {pool_mode!r} needs the compiled mmcv; mmcv-lite is installed")
    return torchvision.ops.roi_align(input, rois.to(input), output_size, spatial_scale, sampling_ratio, aligned)


class RoIAlign(nn.Module):
    """See :func:`roi_align`."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        pool_mode: str = "avg",
        aligned: bool = True,
        use_torchvision: bool = True,  # noqa: ARG002 (it always is)
    ):
        super().__init__()
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = (height, width)
        self.spatial_scale, self.sampling_ratio = float(spatial_scale), int(sampling_ratio)
        self.pool_mode, self.aligned = pool_mode, aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.pool_mode, self.aligned
        )


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss (arXiv 1708.02002) of scores (n, classes) and classes (n,), the number after the last one being the
    background; ``weight`` (classes,)."""
    classes = input.shape[1]
    truth = F.one_hot(target, classes + 1)[:, :classes].to(input)
    loss = torchvision.ops.sigmoid_focal_loss(input, truth, alpha, gamma)
    loss = loss if weight is None else loss * weight
    return loss.sum() / len(input) if reduction == "mean" else loss.sum() if reduction == "sum" else loss


OPERATORS = {f.__name__: f for f in (nms, batched_nms, roi_align, RoIAlign, sigmoid_focal_loss)}
