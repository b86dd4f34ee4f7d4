"""Video metrics, batched on the device: frames in, one value a frame out.

Every function takes ``pred`` and ``true`` of shape (..., c, h, w), floats with true values in [0, 1], and
returns (...) float64.  Conventions, because the field's differ:

- MSE and MAE sum over c, h and w, and use the prediction as it is, before clipping.
- SSIM, PSNR and LPIPS clip the prediction to [0, 1] first.
- PSNR is per frame, with peak 1; the mean over frames is the mean of decibels, not of the errors.
- SSIM is Wang et al. 2004 as scikit-image defines it (7x7 uniform window, sample covariance, border
  left out), with its ``data_range``.  1 is right for frames in [0, 1].  The published Moving MNIST tables
  were made with 2, which old scikit-image took for floats by default.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torch.nn.functional as F
from torch import Tensor

from moga_st.errors import BadInput

SSIM_RANGE = 1.0
SSIM_RANGE_PUBLISHED = 2.0
SSIM_WINDOW = 7


def mse(pred: Tensor, true: Tensor) -> Tensor:
    """Squared error summed over c, h, w: (..., c, h, w) -> (...)."""
    return (pred.double() - true.double()).square().sum((-3, -2, -1))


def mae(pred: Tensor, true: Tensor) -> Tensor:
    """Absolute error summed over c, h, w: (..., c, h, w) -> (...)."""
    return (pred.double() - true.double()).abs().sum((-3, -2, -1))


def psnr(pred: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB with peak 1, after clipping; infinite for equal frames."""
    error = (pred.double().clamp(0, 1) - true.double()).square().mean((-3, -2, -1))
    return -10.0 * torch.log10(error)


def ssim(pred: Tensor, true: Tensor, data_range: float = SSIM_RANGE) -> Tensor:
    """Structural similarity, mean over c and the window positions: (..., c, h, w) -> (...).

    Raises:
        BadInput: frames smaller than the 7x7 window.
    """
    return ssim_by_range(pred, true, (data_range,))[0]


def ssim_by_range(pred: Tensor, true: Tensor, data_ranges: Sequence[float]) -> list[Tensor]:
    """:func:`ssim` for each of several data ranges, which share all of the work but its end."""
    window = SSIM_WINDOW
    if min(pred.shape[-2:]) < window:
        raise BadInput(f"SSIM needs frames of at least {window}x{window} pixels, got {tuple(pred.shape[-2:])}")
    x = pred.double().clamp(0, 1).reshape(-1, *pred.shape[-3:])
    y = true.double().reshape(-1, *true.shape[-3:])
    # in one sum a window: rows and then columns would be faster, and differ in the last digit from older records
    moments = F.avg_pool2d(torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 1), window, stride=1)
    mx, my, xx, yy, xy = moments.unflatten(0, (5, -1))
    unbiased = window**2 / (window**2 - 1)
    vx, vy, vxy = unbiased * (xx - mx * mx), unbiased * (yy - my * my), unbiased * (xy - mx * my)
    products, squares, variances = 2 * mx * my, mx * mx + my * my, vx + vy
    found = []
    for data_range in data_ranges:
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        score = (products + c1) * (2 * vxy + c2) / ((squares + c1) * (variances + c2))
        found.append(score.mean((-3, -2, -1)).view(pred.shape[:-3]))
    return found


class LPIPS:
    """Learned perceptual distance (arXiv 1801.03924), AlexNet, by the lpips package; 0 is equal.

    One-channel frames are repeated to three.

    Raises:
        BadInput: the AlexNet trunk is neither in torch's hub cache nor to be downloaded.
    """

    def __init__(self, device: torch.device, **options: Any):
        """``options`` go to ``lpips.LPIPS`` (tests pass ``pnet_rand=True``)."""
        import lpips  # imports torchvision, which takes seconds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips uses torchvision's old argument names
            try:
                self.net = lpips.LPIPS(net="alex", verbose=False, **options).to(device).eval()
            except (URLError, OSError) as error:
                target = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
                raise BadInput(
                    f"LPIPS needs torchvision's AlexNet weights, which cannot be downloaded ({error}); put the "
                    f"file at {target}, or evaluate without LPIPS"
                ) from error

    @torch.no_grad()
    def __call__(self, pred: Tensor, true: Tensor) -> Tensor:
        """(..., c, h, w) -> (...); c is 1 or 3."""
        x, y = (v.float().clamp(0, 1).reshape(-1, *v.shape[-3:]) * 2 - 1 for v in (pred, true))
        if x.shape[1] == 1:
            x, y = x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)
        return self.net(x, y).double().view(pred.shape[:-3])
