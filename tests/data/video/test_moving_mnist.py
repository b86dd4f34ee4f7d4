import math

import numpy as np
import pytest
import torch

from moga_st.data.draws import uniform
from moga_st.data.video.moving_mnist import Drawn, MotionConfig, draw, positions, render, render_slowly
from moga_st.errors import BadInput

DIGITS = torch.randint(0, 256, (7, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "config",
    [
        MotionConfig(),
        MotionConfig(digits=1),
        MotionConfig(digits=3, step=0.37),
        MotionConfig(frame_size=33),
        MotionConfig(frame_size=28),  # no room to move at all
    ],
)
def test_batched_rendering_equals_the_plain_loop_exactly(config):
    drawn = draw(3, torch.arange(40), config, len(DIGITS))
    np.testing.assert_array_equal(
        render(DIGITS, drawn, config, 20).numpy(), render_slowly(DIGITS.numpy(), drawn, config, 20)
    )


def test_a_digit_moves_bounces_and_stays_inside():
    """By hand, with steps of 1/8, which floats hold exactly: from the middle to the right edge and back."""
    config = MotionConfig(digits=1, step=0.125)
    drawn = Drawn(torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1, 2), 0.5).double(), torch.zeros(1, 1).double())
    y, x = positions(drawn, config, 14, 28)[0, :, 0].T.tolist()
    assert y == [18] * 14
    eighths = [5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2]  # clamped at 8 and at 0, each a frame long
    assert x == [36 * e // 8 for e in eighths]


def test_positions_reach_both_edges_and_never_leave():
    config = MotionConfig()
    place = positions(draw(0, torch.arange(500), config, 5), config, 20, 28)
    assert place.min() == 0
    assert place.max() == 36
    assert place.dtype == torch.int64


def test_overlapping_digits_are_composed_by_maximum():
    drawn = Drawn(torch.tensor([[0, 1]]), torch.full((1, 2, 2), 0.5).double(), torch.zeros(1, 2).double())
    frame = render(DIGITS, drawn, MotionConfig(), 1)[0, 0, 0]
    rows, columns = frame.nonzero().T
    top, left = rows.min(), columns.min()
    torch.testing.assert_close(frame[top : top + 28, left : left + 28], torch.maximum(DIGITS[0], DIGITS[1]))
    assert frame.sum() == torch.maximum(DIGITS[0], DIGITS[1]).sum()


def test_starts_directions_speeds_and_digits_have_their_distributions():
    config, n = MotionConfig(), 20_000
    drawn = draw(5, torch.arange(n), config, 10)
    tolerance = 4 / math.sqrt(2 * n)  # four standard errors of a share, at most
    for values in (drawn.start[..., 0], drawn.start[..., 1], drawn.angle / (2 * math.pi)):
        share = torch.histc(values.float(), 10, 0, 1) / values.numel()
        assert (share - 0.1).abs().max() < tolerance
        assert values.min() >= 0
        assert values.max() < 1
    assert (torch.bincount(drawn.digit.flatten(), minlength=10) / (2 * n) - 0.1).abs().max() < tolerance
    # a digit that touches no edge moves by exactly 0.1 of the canvas
    inner = ((drawn.start - 0.5).abs() < 0.3).all(-1)
    assert inner.any()
    frames = positions(drawn, MotionConfig(frame_size=10_028), 2, 28)
    step = (frames[:, 1] - frames[:, 0]).double()[inner].norm(dim=-1) / 10_000
    assert (step - 0.1).abs().max() < 3e-4  # two floors of a ten-thousandth


def test_draws_are_a_pure_function_of_seed_and_index():
    config = MotionConfig()
    whole = draw(1, torch.arange(64), config, 9)
    for a, b in zip(whole, draw(1, torch.arange(48, 64), config, 9), strict=True):
        torch.testing.assert_close(a[48:], b, rtol=0, atol=0)
    assert not torch.equal(whole.angle, draw(2, torch.arange(64), config, 9).angle)


def test_generator_equals_splitmix64_in_plain_integers():
    """The published mixing function, written with Python's unbounded integers."""

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    def stream(seed: int, index: int) -> int:
        return mix((mix((seed * golden + 0x94D049BB133111EB) % 2**64) + index * golden) % 2**64)

    golden = 0x9E3779B97F4A7C15
    expected = [
        [(mix((stream(s, i) + c * golden) % 2**64) >> 11) / 2**53 for c in (1, 2)] for s, i in ((0, 0), (3, 17))
    ]
    for (s, i), row in zip(((0, 0), (3, 17)), expected, strict=True):
        assert uniform(s, torch.tensor([i]), 2).tolist() == [row]


def test_neighbouring_streams_are_uncorrelated():
    u = torch.cat([uniform(s, torch.arange(4000), 2) for s in (0, 1, 2)], 1)
    correlation = torch.corrcoef(torch.cat([u[:-1], u[1:]], 1).T) - torch.eye(12)
    assert correlation.abs().max() < 5 / math.sqrt(4000)


def test_a_frame_smaller_than_the_digit_is_refused():
    config = MotionConfig(frame_size=20)
    with pytest.raises(BadInput, match="frame_size 20 is smaller than the 28 px digits"):
        render(DIGITS, draw(0, torch.arange(1), config, 7), config, 2)
