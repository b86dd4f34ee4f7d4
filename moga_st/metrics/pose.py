"""Metrics of 3D human pose, batched on the device: poses in, one value a joint and frame out.

Every function takes ``pred`` and ``target`` of shape (..., j, 3) in one unit, whatever it is, and returns
float64 values a joint, (..., j) (``mpjve``: a joint and step), in that unit; PCK and AUC are fractions in
[0, 1].  The plain mean over all values is the published figure; means over a slice are the figures of an
action or a joint.  A pose that holds NaN or infinity gives NaN errors and no exception.  The metrics use
the poses as they are: whether the root is set to zero first is the protocol's business.

Shape legend: ``t`` frames, ``j`` joints.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moga_st.errors import BadInput

PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(range(0, 151, 5))


def mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Protocol #1: distance of each joint from where it should be, (..., j, 3) -> (..., j).

    Raises:
        BadInput: the shapes differ or are not (..., j, 3).  So do all functions here.
    """
    x, y = _checked(pred, target)
    return (x - y).norm(dim=-1)


def p_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Protocol #2: :func:`mpjpe` after :func:`procrustes`, (..., j, 3) -> (..., j)."""
    return mpjpe(procrustes(pred, target), target)


def n_mpjpe(pred: Tensor, target: Tensor) -> Tensor:
    """Protocol #3 (Rhodin et al. 2018): :func:`mpjpe` after the scaling of the predicted pose that fits best
    in the sense of least squares, (..., j, 3) -> (..., j).

    Scaling is about the origin, so the poses should be root-relative; an all-zero prediction stays zero.
    """
    x, y = _checked(pred, target)
    size = x.square().sum((-2, -1), keepdim=True)
    scale = (x * y).sum((-2, -1), keepdim=True) / torch.where(size == 0, 1.0, size)
    return mpjpe(scale * x, y)


def mpjve(pred: Tensor, target: Tensor) -> Tensor:
    """Velocity error (Pavllo et al. 2019): distance between the steps from frame to frame, in the poses' unit
    a frame, (..., t, j, 3) -> (..., t - 1, j).

    The frames along ``t`` must be one clip: a step across a cut is no velocity.  Call it once a clip, or with
    clips of equal length as a leading dimension, and concatenate the results.  (The published mean weights a
    clip by its t frames, not its t - 1 steps.)
    """
    x, y = _checked(pred, target)
    if x.ndim < 3:
        raise BadInput(f"mpjve: expected clips of shape (..., t, j, 3), got {tuple(x.shape)}")
    return mpjpe(x.diff(dim=-3), y.diff(dim=-3))


def pck(pred: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Correct keypoints: 1 where :func:`mpjpe` is below ``threshold``, else 0, (..., j, 3) -> (..., j).

    The threshold is in the poses' unit: :data:`PCK_THRESHOLD_MM`, or 0.15 for metres.
    """
    error = mpjpe(pred, target)
    return torch.where(error.isnan(), torch.nan, (error < threshold).double())


def auc(pred: Tensor, target: Tensor, mm: float) -> Tensor:
    """Area under the PCK curve: mean of :func:`pck` over :data:`AUC_THRESHOLDS_MM`, (..., j, 3) -> (..., j).

    ``mm`` is one millimetre in the poses' unit: 1.0, or 0.001 for metres.  The convention is that of
    MPI-INF-3DHP's own evaluation: 31 thresholds from 0 to 150 mm, "below" meaning strictly below, so the
    threshold 0 is never met and a perfect prediction scores 30/31.
    """
    error = mpjpe(pred, target)
    hits = sum((error < threshold * mm).double() for threshold in AUC_THRESHOLDS_MM)
    return torch.where(error.isnan(), torch.nan, hits / len(AUC_THRESHOLDS_MM))


def procrustes(pred: Tensor, target: Tensor) -> Tensor:
    """The prediction moved onto the target by the similarity (scale, rotation, translation) that fits best in
    the sense of least squares (Umeyama 1991): (..., j, 3) -> (..., j, 3) float64.

    A reflection is no rotation: a mirrored pose is not moved onto its original.  Of flat, straight and
    one-point poses the best fit is not unique, and one of the best is returned; one whose joints coincide
    lands on the target's mean.
    """
    x, y = _checked(pred, target)
    mean = y.mean(-2, keepdim=True)
    x, y = x - x.mean(-2, keepdim=True), y - mean
    # unit size, so that no square over- or underflows
    x_size, y_size = (v.abs().amax((-2, -1), keepdim=True) for v in (x, y))
    x = x / torch.where(x_size == 0, 1.0, x_size)
    covariance = x.mT @ (y / torch.where(y_size == 0, 1.0, y_size))
    usable = covariance.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    u, s, vt = torch.linalg.svd(torch.where(usable, covariance, 0.0))
    proper = torch.ones_like(s)
    proper[..., 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * proper[..., None, :]) @ vt  # of row vectors
    norm = x.square().sum((-2, -1), keepdim=True)
    scale = (s * proper).sum(-1)[..., None, None] / torch.where(norm == 0, 1.0, norm)
    return scale * y_size * (x @ rotation) + mean


def _checked(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if pred.shape != target.shape or pred.ndim < 2 or pred.shape[-1] != 3 or pred.shape[-2] == 0:
        raise BadInput(
            f"pred and target: expected poses of one shape (..., j, 3), got {tuple(pred.shape)} and "
            f"{tuple(target.shape)}; compare the same frames and joints"
        )
    return pred.double(), target.double()
