"""Scores of weather fields, a variable at a time and in its unit: frames in, one value a frame and channel out.

Every function takes ``pred`` and ``true`` of shape (..., c, h, w) in physical units, not normalised, and returns
(..., c) float64: a mean over the map, each channel on its own, because kelvins and metres a second do not add up.

RMSE is the root of the mean over the whole test set (:func:`rmse` of the mean of :func:`mse`), as OpenSTL has it; the
mean of single maps' roots is smaller.  What OpenSTL's tables call MSE on WeatherBench is :func:`mse_published`: the
sum over c, h, w divided by c h w.  For one variable it is its MSE; for several it is the plain mean over variables of
different units.
"""

from __future__ import annotations

from torch import Tensor


def mse(pred: Tensor, true: Tensor) -> Tensor:
    """Squared error, mean over the map: (..., c, h, w) -> (..., c), in the variable's unit squared."""
    return (pred.double() - true.double()).square().mean((-2, -1))


def mae(pred: Tensor, true: Tensor) -> Tensor:
    """Absolute error, mean over the map: (..., c, h, w) -> (..., c), in the variable's unit."""
    return (pred.double() - true.double()).abs().mean((-2, -1))


def rmse(mean_mse: Tensor) -> Tensor:
    """Root mean squared error from the mean of :func:`mse` over all that is scored, of any shape."""
    return mean_mse.sqrt()


def mse_published(pred: Tensor, true: Tensor) -> Tensor:
    """OpenSTL's MSE on WeatherBench, the squared error's mean over c, h, w: (..., c, h, w) -> (...)."""
    return mse(pred, true).mean(-1)


def mae_published(pred: Tensor, true: Tensor) -> Tensor:
    """OpenSTL's MAE on WeatherBench, the absolute error's mean over c, h, w: (..., c, h, w) -> (...)."""
    return mae(pred, true).mean(-1)
