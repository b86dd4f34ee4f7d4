import numpy as np
import pytest
import torch

from moga_st.errors import BadInput
from moga_st.models.baselines import Climatology, copy_last, optical_flow


def texture(seed: int, size: int = 80) -> np.ndarray:
    """A smooth random image with values of order 1."""
    waves = np.random.default_rng(seed).normal(size=(6, 4))
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    return np.sum([a * np.sin(0.25 * (b * y + c * x) + 6 * d) for a, b, c, d in waves], axis=0)


def moving(image: np.ndarray, frames: int, dy: int, dx: int) -> torch.Tensor:
    """A (1, frames, 1, 40, 40) window through which the image's content moves by (dy, dx) px a frame."""
    starts = [(20 - dy * t, 20 - dx * t) for t in range(frames)]
    return torch.from_numpy(np.stack([image[i : i + 40, j : j + 40] for i, j in starts])).float()[None, :, None]


def test_copy_last():
    past = torch.rand(2, 3, 1, 4, 5)
    pred = copy_last(past, 6)
    assert pred.shape == (2, 6, 1, 4, 5)
    assert all(torch.equal(pred[:, i], past[:, 2]) for i in range(6))


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_optical_flow_goes_on_with_the_motion(scale):
    clip = moving(texture(0), 6, 2, -1) * scale
    pred = optical_flow(clip[:, :3], 3)
    assert pred.shape == (1, 3, 1, 40, 40)
    inner = (..., slice(10, 30), slice(10, 30))  # what did not come in from outside
    error = (pred - clip[:, 3:])[inner].square().mean()
    still = (copy_last(clip[:, :3], 3) - clip[:, 3:])[inner].square().mean()
    assert error < 0.01 * still


def test_optical_flow_of_channels_that_move_with_different_contrast():
    flat = torch.full((1, 5, 1, 40, 40), 7.0)
    seen = moving(texture(1), 5, 1, 1)
    clip = torch.cat([flat, seen], 2)
    pred = optical_flow(clip[:, :2], 3)
    torch.testing.assert_close(pred[:, :, 0], flat[:, 2:, 0])
    alone = optical_flow(seen[:, :2], 3)
    torch.testing.assert_close(pred[:, :, 1:], alone, atol=1e-4, rtol=0)  # the flat one does not slow it


def test_optical_flow_of_still_clips_is_still():
    clip = moving(texture(2), 2, 0, 0)
    torch.testing.assert_close(optical_flow(clip, 2), copy_last(clip, 2), atol=1e-4, rtol=0)
    with pytest.raises(BadInput, match="last two frames"):
        optical_flow(clip[:, :1], 2)


def seconds(*moments: str) -> np.ndarray:
    return np.array(moments, "datetime64[s]").astype(np.int64).astype(float)


def test_monthly_climatology_is_the_mean_of_the_same_months():
    start = np.datetime64("1999-11", "M") + np.arange(30)
    time_s = start.astype("datetime64[s]").astype(np.int64).astype(float)
    values = np.random.default_rng(0).normal(size=(30, 2, 3, 4))
    usual = Climatology.of([(time_s[:7], values[:7]), (time_s[7:], values[7:])], 30 * 86_400.0)
    asked = seconds("2010-11-15", "2011-02-01", "1950-02-28T23:59:59")
    got = usual(asked)
    assert got.shape == (3, 2, 3, 4)
    month = (start.astype(int)) % 12
    np.testing.assert_allclose(got[0], values[month == 10].mean(0), rtol=1e-5)
    np.testing.assert_allclose(got[1], values[month == 1].mean(0), rtol=1e-5)
    assert torch.equal(got[1], got[2])


def test_hourly_climatology_is_by_week_and_hour():
    hours = np.datetime64("2014-01-01T00", "h") + np.arange(2 * 365 * 24)
    time_s = hours.astype("datetime64[s]").astype(np.int64).astype(float)
    day, hour = (hours - np.datetime64("2014-01-01T00", "h")).astype(int) // 24 % 365, np.arange(len(hours)) % 24
    values = (10.0 * np.minimum(day // 7, 51) + hour)[:, None, None, None]
    usual = Climatology.of([(time_s, values)], 3600.0)
    asked = usual(seconds("2018-01-08T05:00:00", "2018-12-31T23:30:00").reshape(1, 2))
    assert asked.shape == (1, 2, 1, 1, 1)
    assert asked.flatten().tolist() == [15.0, 10.0 * 51 + 23]


def test_times_of_the_year_never_seen_take_the_mean_of_all():
    usual = Climatology.of([(seconds("2001-06-01", "2002-07-01"), np.array([2.0, 4.0]).reshape(2, 1, 1, 1))], 2.6e6)
    assert usual(seconds("2003-06-10", "2003-12-01")).flatten().tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("frames", "step_s"),
    [
        ([], 3600.0),
        ([(seconds("2001-01-01"), np.zeros((1, 1, 1, 1)))], 0.0),
        ([(seconds("2001-01-01"), np.full((1, 1, 1, 1), np.nan))], 3600.0),
    ],
)
def test_climatology_refuses_what_it_cannot_average(frames, step_s):
    with pytest.raises(BadInput, match="climatology"):
        Climatology.of(frames, step_s)
