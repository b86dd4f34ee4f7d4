import numpy as np
import pytest
import torch

from moga_st.errors import BadInput
from moga_st.metrics import rain
from moga_st.models.baselines import copy_last, optical_flow

THRESHOLDS = (0.3, 0.7)


def fields(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 2, 9, 8, generator=made), torch.rand(2, 3, 2, 9, 8, generator=made)


def test_event_counts_are_those_of_a_loop_over_pixels():
    pred, true = fields(0)
    counts = rain.event_counts(pred, true, THRESHOLDS)
    assert counts.shape == (2, 3, 2, 3)
    for b in range(2):
        for t in range(3):
            for k, threshold in enumerate(THRESHOLDS):
                hits = misses = false_alarms = 0
                for p, y in zip(pred[b, t].flatten().tolist(), true[b, t].flatten().tolist(), strict=True):
                    hits += p >= threshold and y >= threshold
                    misses += p < threshold and y >= threshold
                    false_alarms += p >= threshold and y < threshold
                assert counts[b, t, k].tolist() == [hits, misses, false_alarms]


def test_scores_from_counts_by_hand():
    counts = torch.tensor([[6.0, 2.0, 4.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    assert rain.csi(counts)[0] == 6 / 12
    assert rain.pod(counts)[0] == 6 / 8
    assert rain.far(counts)[0] == 4 / 10
    # nothing happened and nothing was said: undefined, not perfect and not zero
    assert rain.csi(counts)[1].isnan()
    assert rain.pod(counts)[1].isnan()
    assert rain.far(counts)[1].isnan()
    assert rain.csi(counts)[2] == 0
    assert rain.far(counts)[2].isnan()  # nothing was said, so no share of it was false


def test_an_event_is_at_or_above_the_threshold():
    field = torch.tensor([0.2999, 0.3, 0.3001]).view(1, 1, 1, 3)
    assert rain.event_counts(field, field, (0.3,))[0, 0].tolist() == [2, 0, 0]


def slow_fss(pred: np.ndarray, true: np.ndarray, threshold: float, window: int) -> float:
    """Roberts and Lean 2008, one pixel at a time."""
    half, difference, squares = window // 2, 0.0, 0.0
    for p, y in zip(pred, true, strict=True):  # maps (h, w)
        h, w = p.shape
        for i in range(h):
            for j in range(w):
                shares = []
                for field in (p, y):
                    inside = [
                        field[a, b] >= threshold
                        for a in range(i - half, i + half + 1)
                        for b in range(j - half, j + half + 1)
                        if 0 <= a < h and 0 <= b < w
                    ]
                    shares.append(sum(inside) / window**2)
                difference += (shares[0] - shares[1]) ** 2
                squares += shares[0] ** 2 + shares[1] ** 2
    return 1 - difference / squares


@pytest.mark.parametrize("window", [1, 3, 5, 17])
def test_fss_is_that_of_a_loop_over_pixels(window):
    pred, true = fields(1)
    parts = rain.fss_parts(pred, true, THRESHOLDS, window)
    assert parts.shape == (2, 3, 2, 2)
    scores = rain.fss(parts.sum((0, 1)))
    for k, threshold in enumerate(THRESHOLDS):
        slow = slow_fss(pred.reshape(-1, 9, 8).numpy(), true.reshape(-1, 9, 8).numpy(), threshold, window)
        assert scores[k].item() == pytest.approx(slow, abs=1e-12)


def test_fss_forgives_a_displacement_that_the_window_spans_and_csi_does_not():
    true = torch.zeros(1, 1, 32, 32)
    true[..., 10:14, 10:14] = 1
    pred = true.roll(4, -1)
    assert rain.csi(rain.event_counts(pred, true, (0.5,))).item() == 0
    scores = [rain.fss(rain.fss_parts(pred, true, (0.5,), n)).item() for n in (1, 5, 9, 17)]
    assert scores[0] == 0
    assert scores == sorted(scores)
    assert scores[-1] > 0.8
    assert rain.fss(rain.fss_parts(true, true, (0.5,), 5)).item() == 1


def test_bad_thresholds_and_windows_are_refused():
    pred, true = fields(2)
    for window in (0, 4, -1):
        with pytest.raises(BadInput, match=f"odd number of pixels, got {window}"):
            rain.fss_parts(pred, true, THRESHOLDS, window)
    for call in (lambda: rain.event_counts(pred, true, ()), lambda: rain.fss_parts(pred, true, (), 3)):
        with pytest.raises(BadInput, match="thresholds"):
            call()


def test_moving_rain_cells_are_predicted_better_by_their_motion_than_by_persistence():
    """Cells that drift and keep their strength: what radar nowcasting by extrapolation assumes."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    cells = [(14.0, 40.0, 5.0, 60.0), (34.0, 24.0, 6.0, 90.0), (44.0, 44.0, 4.0, 40.0)]
    frames = []
    for t in range(10):
        field = sum(
            a * torch.exp(-((y - i - 1.2 * t) ** 2 + (x - j + 0.8 * t) ** 2) / (2 * s * s)) for i, j, s, a in cells
        )
        frames.append(field)
    clip = torch.stack(frames)[None, :, None]
    past, future = clip[:, :4], clip[:, 4:]
    scores = {}
    for name, pred in (("copy_last", copy_last(past, 6)), ("optical_flow", optical_flow(past, 6))):
        counts = rain.event_counts(pred, future, (10.0, 30.0)).sum((0, 1))
        scores[name] = torch.stack(
            [
                rain.csi(counts),
                rain.pod(counts),
                -rain.far(counts),
                rain.fss(rain.fss_parts(pred, future, (10.0, 30.0), 5).sum((0, 1))),
            ]
        )
    assert (scores["optical_flow"] > scores["copy_last"]).all(), scores
    assert scores["optical_flow"][0].min() > 0.8, scores
    assert scores["copy_last"][0].max() < 0.6, scores
