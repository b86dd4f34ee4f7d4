import itertools

import numpy as np
import pytest

from moga_st.data.pose.people import REACH, area, box, distance, follow

SHAPE = np.random.default_rng(0).uniform((-40, -100), (40, 100), (17, 2))
SHAPE[0], SHAPE[1] = (0, -100), (0, 100)  # 200 px tall


def at(x: float, y: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return SHAPE * scale + (x, y)


def names(people: dict[int, dict[str, np.ndarray]], numbers: dict[int, list[int]]) -> dict[str, set[int]]:
    """The numbers that each person got."""
    got: dict[str, set[int]] = {}
    for frame, found in people.items():
        for name, number in zip(found, numbers[frame], strict=True):
            got.setdefault(name, set()).add(number)
    return got


def follow_named(people: dict[int, dict[str, np.ndarray]], patience: int = 5) -> dict[str, set[int]]:
    return names(people, follow({frame: list(found.values()) for frame, found in people.items()}, patience))


def test_who_crosses_keeps_their_number():
    """Two people of one size walk through each other: in frame 10 they are in the same place, and only where each was
    going tells them apart."""
    people = {i: {"right": at(20.0 * i), "left": at(400 - 20.0 * i, 6)} for i in range(21)}
    assert follow_named(people) == {"right": {0}, "left": {1}}


def test_who_is_hidden_while_crossing_is_found_behind():
    people = {i: {"near": at(15.0 * i, scale=1.3), "far": at(300 - 15.0 * i)} for i in range(21)}
    for i in (9, 10, 11):
        del people[i]["far"]
    assert follow_named(people) == {"near": {0}, "far": {1}}


@pytest.mark.parametrize(("gap", "numbers"), [(5, {0}), (6, {0, 1})])
def test_memory_lasts_for_the_patience(gap, numbers):
    """Frames 0 and 1, then again after ``gap`` frames."""
    frames = [0, 1, 1 + gap, 2 + gap]
    assert follow_named({i: {"a": at(10.0 * i)} for i in frames}, patience=5) == {"a": numbers}


def test_the_detectors_order_does_not_matter():
    people = [[at(8.0 * i), at(500 - 3.0 * i, 20), at(200, 15.0 * i, 0.8)] for i in range(6)]
    orders = list(itertools.permutations(range(3)))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chosen = [orders[k] for k in rng.integers(len(orders), size=6)]
        numbers = follow({i: [p[k] for k in order] for i, (p, order) in enumerate(zip(people, chosen, strict=True))}, 5)
        # from left to right in the first frame: 0 at x = 0, 1 at 200, 2 at 500
        assert numbers == {i: [(0, 2, 1)[k] for k in order] for i, order in enumerate(chosen)}


def test_a_newcomer_far_away_is_someone_else():
    beyond, within = 200 * REACH + 1, 200 * REACH - 1
    assert follow_named({0: {"a": at(0)}, 1: {"a": at(beyond)}}) == {"a": {0, 1}}
    assert follow_named({0: {"a": at(0)}, 1: {"a": at(within)}}) == {"a": {0}}


def test_unseen_joints_take_no_part():
    legs_hidden = at(20)
    legs_hidden[8:] = np.nan
    assert follow_named({0: {"a": at(0)}, 1: {"a": legs_hidden}, 2: {"a": at(40)}}) == {"a": {0}}
    nothing = np.full((17, 2), np.nan)
    assert follow({0: [at(0), nothing], 1: [nothing, at(1)]}, 5)[1][1] == 0


def test_distance_is_the_median_over_common_joints_in_body_sizes():
    a, b = at(0), at(30)
    assert distance(a, b) == pytest.approx(30 / 200)
    assert distance(b, a) == distance(a, b)
    wild = b.copy()
    wild[5] += 1000  # which makes the box larger, not the median
    assert distance(a, wild) == pytest.approx(30 / (box(wild)[2:] - box(wild)[:2]).max())
    upper, lower = at(0), at(0)
    upper[8:], lower[:8] = np.nan, np.nan  # no joint in common: from middle to middle
    middles = [(box(p)[:2] + box(p)[2:]) / 2 for p in (upper, lower)]
    sizes = [(box(p)[2:] - box(p)[:2]).max() for p in (upper, lower)]
    assert distance(upper, lower) == pytest.approx(np.linalg.norm(middles[0] - middles[1]) / max(sizes))
    assert distance(a, np.full((17, 2), np.nan)) == np.inf
    assert distance(np.full((17, 2), np.nan), np.full((17, 2), np.nan)) == np.inf


def test_boxes():
    points = np.array([(1.0, 5.0, 0.9), (4.0, 2.0, 0.8), (np.nan, np.nan, 0.0)])
    assert box(points).tolist() == [1, 2, 4, 5]
    assert area(points) == 9
    assert box(points[2:]).tolist() == [0, 0, 0, 0]
