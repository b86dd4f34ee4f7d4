import numpy as np
import pytest

from moga_st.data.pose.smoothing import OneEuro
from moga_st.errors import BadInput


def slow_one_euro(xs: list[float], fps: float, min_cutoff: float, beta: float, d_cutoff: float) -> list[float]:
    """Algorithm 1 of the paper, one number at a time."""

    def alpha(cutoff: float) -> float:
        tau = 1.0 / (2 * np.pi * cutoff)
        return 1.0 / (1.0 + tau * fps)

    out = [xs[0]]
    dx_hat = 0.0
    for x in xs[1:]:
        dx = (x - out[-1]) * fps
        dx_hat = alpha(d_cutoff) * dx + (1 - alpha(d_cutoff)) * dx_hat
        a = alpha(min_cutoff + beta * abs(dx_hat))
        out.append(a * x + (1 - a) * out[-1])
    return out


def walk(t: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(t, 5, 2)).cumsum(0) * 10


def test_it_equals_the_scalar_algorithm():
    x = walk()
    before = x.copy()
    got = OneEuro(min_cutoff_hz=1.3, beta=0.02, speed_cutoff_hz=0.8)(x, 25.0)
    np.testing.assert_array_equal(x, before)
    for j in range(5):
        for c in range(2):
            np.testing.assert_allclose(got[:, j, c], slow_one_euro(x[:, j, c].tolist(), 25.0, 1.3, 0.02, 0.8))


def test_a_constant_passes_unchanged():
    np.testing.assert_array_equal(OneEuro()(np.full((9, 2, 2), 3.7), 30.0), np.full((9, 2, 2), 3.7))


def test_a_high_cutoff_is_the_identity():
    np.testing.assert_allclose(OneEuro(min_cutoff_hz=1e12)(walk(), 30.0), walk(), atol=1e-8)


def test_a_step_at_beta_0_is_that_of_an_exponential_filter():
    """1 - (1 - alpha)^k after k frames, alpha = 1 / (1 + fps / (2 pi cutoff)); 63 % after one time constant."""
    fps, cutoff = 1000.0, 2.0
    step = np.ones((200, 1, 1))
    step[0] = 0.0
    got = OneEuro(min_cutoff_hz=cutoff, beta=0.0)(step, fps)[:, 0, 0]
    alpha = 1 / (1 + fps / (2 * np.pi * cutoff))
    np.testing.assert_allclose(got, 1 - (1 - alpha) ** np.arange(200))
    tau_frames = fps / (2 * np.pi * cutoff)
    assert got[round(tau_frames)] == pytest.approx(1 - np.exp(-1), abs=0.01)


def test_what_stands_is_stilled_and_what_moves_is_let_pass():
    still = 100 + np.random.default_rng(1).normal(0, 0.005, (400, 1, 1))
    assert OneEuro()(still, 50.0)[50:].std() < 0.5 * still[50:].std()
    fast = np.arange(400.0).reshape(-1, 1, 1) * 0.04  # two body sizes a second
    lag = [np.abs(fast - OneEuro(1.0, beta)(fast, 50.0))[-1].item() for beta in (0.0, 4.0)]
    # behind a steady speed v the filter lags by v / (2 pi cutoff), and takes the speed for v + lag fps
    for beta, behind in zip((0.0, 4.0), lag, strict=True):
        assert behind == pytest.approx(2 / (2 * np.pi * (1.0 + beta * (2 + behind * 50))))
    assert lag[1] < 0.1 * lag[0]


def test_keypoints_are_smoothed_alike_at_every_size_and_place():
    points = walk() + 300
    small = OneEuro().smooth(points, 30.0)
    assert np.abs(small - points).max() > 1
    np.testing.assert_allclose(OneEuro().smooth(7 * points + 50, 30.0), 7 * small + 50)
    nowhere = np.ones((4, 17, 2))  # all joints in one point: no size
    np.testing.assert_array_equal(OneEuro().smooth(nowhere, 30.0), nowhere)


@pytest.mark.parametrize(
    ("filter", "fps"), [(OneEuro(), 0.0), (OneEuro(min_cutoff_hz=0.0), 30.0), (OneEuro(beta=-1.0), 30.0)]
)
def test_bad_parameters_are_refused(filter, fps):
    with pytest.raises(BadInput, match="positive"):
        filter(walk(), fps)
