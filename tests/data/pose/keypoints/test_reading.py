"""Who is who, which side is which, and what cannot be meant as it stands: on people who walk across the image."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st.data.pose.keypoints import read_keypoints, read_people
from moga_st.data.pose.keypoints.layouts import body_likeness, layout_of_names, standard_name
from moga_st.data.pose.keypoints.swaps import repair_swaps
from moga_st.data.pose.skeleton import BODY_25, COCO17, H36M17, HALPE26, POSETRACK17, mirror, to_h36m17
from moga_st.errors import BadInput
from tests.data.pose.keypoints.walker import SIZE, walker

T = 60


def save(path: Path, frames: Sequence[Sequence[tuple[np.ndarray, object]]]) -> Path:
    """AlphaPose's file of the people of each frame, each with their points and the number they get, or None."""
    entries = [
        {"image_id": f"{i}.jpg", "keypoints": points.ravel().tolist(), "score": 2.0}
        | ({} if number is None else {"idx": number})
        for i, people in enumerate(frames)
        for points, number in people
    ]
    path.write_text(json.dumps(entries))
    return path


def two() -> tuple[np.ndarray, np.ndarray]:
    """Two who walk side by side, a quarter of their height apart."""
    return walker(COCO17, T, x=200.0), walker(COCO17, T, x=265.0, tall=0.9)


def is_person(got: np.ndarray, points: np.ndarray, seen: slice | np.ndarray = slice(None)) -> None:
    expected = to_h36m17(torch.from_numpy(points), COCO17).numpy()
    np.testing.assert_allclose(got[seen], expected[seen], atol=2e-3)


# --- who is who ---


def test_one_number_for_several_in_a_frame_is_no_identity(tmp_path):
    a, b = two()
    path = save(tmp_path / "k.json", [[(a[i], 0), (b[i], 0)][:: 1 if i % 3 else -1] for i in range(T)])
    people = read_people(path, size_px=SIZE, fps=50.0)
    for got, points in zip(people, (a, b), strict=True):
        is_person(got.points_px, points)
        assert "the file gives one number to several people of a frame, so it is not used" in got.note


def test_who_is_seen_for_a_moment_is_left_out_of_everyone(tmp_path):
    a, b = two()
    stray = walker(COCO17, T, x=900.0, tall=0.3)
    path = save(tmp_path / "k.json", [[(a[i], 0), *([(stray[i], 7)] if i in (20, 21, 22) else [])] for i in range(T)])
    (got,) = read_people(path, size_px=SIZE, fps=50.0)
    is_person(got.points_px, a)
    assert "1 seen for less than 0.5 s left out" in got.note
    assert len(read_people(path, size_px=SIZE, fps=6.0)) == 2  # three frames are as long
    assert read_people(path, size_px=SIZE, fps=50.0, person=7)[0].first_frame == 20
    short = save(tmp_path / "one.json", [[(a[0], 0), (b[0], 1)]])  # a photograph
    assert len(read_people(short, size_px=SIZE, fps=50.0)) == 2


def test_numbers_that_change_bodies_all_the_time_are_not_used(tmp_path):
    a, b = two()
    path = save(tmp_path / "k.json", [[(a[i], i % 2), (b[i], 1 - i % 2)] for i in range(T)])
    people = read_people(path, size_px=SIZE, fps=50.0)
    for got, points in zip(people, (a, b), strict=True):
        is_person(got.points_px, points)
        assert "change bodies in 118 of 118 steps, so they are not used" in got.note


def test_a_number_that_ends_where_another_begins_is_one_person(tmp_path):
    a, b = two()
    path = save(tmp_path / "k.json", [[(a[i], 1 if i < 25 else 7), (b[i], 2)] for i in range(T)])
    first, second = read_people(path, size_px=SIZE, fps=50.0)
    assert (first.person, second.person) == (1, 2)
    is_person(first.points_px, a)
    is_person(second.points_px, b)
    assert "numbers 7 of the file joined" in first.note


def test_a_trusted_number_survives_an_absence_and_an_untrusted_one_can_be_ignored(tmp_path):
    a = walker(COCO17, T)
    frames = [[(a[i], 4)] if i < 10 or i >= 50 else [] for i in range(T)]
    frames[20] = [(walker(COCO17, T, x=700.0)[20], 9)]
    path = save(tmp_path / "k.json", frames)
    got = read_keypoints(path, size_px=SIZE, fps=50.0, person=4)  # 40 frames are 0.8 s
    assert len(got.points_px) == T
    assert got.invented.all(1).sum() == 40
    before, after = read_people(path, size_px=SIZE, fps=20.0, ignore_ids=True)
    assert (before.person, after.person, after.people) == (0, 2, 3)


def test_a_long_absence_splits_the_clip(tmp_path):
    a = walker(COCO17, T)
    path = save(tmp_path / "k.json", [[(a[i], 4)] if i < 10 or i >= 30 else [] for i in range(T)])
    first, second = read_people(path, size_px=SIZE, fps=10.0)  # 20 frames are 2 s
    assert [(k.person, k.part, k.parts, k.people) for k in (first, second)] == [(4, 0, 2, 1), (4, 1, 2, 1)]
    assert (first.frames[-1], second.frames[0]) == (9, 30)
    assert second.times_s[0] == pytest.approx(3.0)
    is_person(second.points_px, a[30:])
    assert "part 1 of 2, apart by long absences" in second.note
    assert read_keypoints(path, size_px=SIZE, fps=10.0).part == 1  # the longer one


def test_one_box_that_jumps_to_someone_else_leaves_gaps_or_splits(tmp_path):
    """A tracker of one box: every tenth frame shows another person, or from the middle on for good."""
    a, b = walker(COCO17, T), walker(COCO17, T, x=380.0, tall=0.97)
    flicker = save(tmp_path / "f.json", [[(b[i] if i % 10 == 3 else a[i], None)] for i in range(T)])
    got = read_keypoints(flicker, size_px=SIZE, fps=50.0)
    jumped = np.arange(T) % 10 == 3
    is_person(got.points_px, a, ~jumped)
    np.testing.assert_array_equal(got.invented.all(1), jumped)
    np.testing.assert_allclose(got.points_px[jumped, :, 0], to_h36m17(torch.from_numpy(a), COCO17)[jumped, :, 0],
                               atol=1.5)  # fmt: skip
    for number in (None, 3):
        split = save(tmp_path / "s.json", [[(a[i] if i < 30 else b[i], number)] for i in range(T)])
        people = read_people(split, size_px=SIZE, fps=50.0)
        assert [k.frames[[0, -1]].tolist() for k in people] == [[0, 29], [30, 59]]
        is_person(people[0].points_px, a[:30])
        is_person(people[1].points_px, b[30:])


def test_a_crowd_is_told_apart_and_numbered(tmp_path):
    """120 people in a grid, in any order, each found again in the next frame."""
    rng = np.random.default_rng(0)
    rows = [np.array((0, 60.0 * (k // 12) - 300, 0)) for k in range(120)]
    crowd = [walker(COCO17, 4, x=60.0 + 80 * (k % 12), tall=0.3) + rows[k] for k in range(120)]
    path = save(tmp_path / "k.json", [[(crowd[k][i], None) for k in rng.permutation(120)] for i in range(4)])
    people = read_people(path, size_px=SIZE, fps=25.0)
    assert [k.person for k in people] == list(range(120))
    starts = {tuple(k.found_px[0, 0, :2].round().astype(int)): k for k in people}
    for points in crowd:
        np.testing.assert_allclose(starts[tuple(points[0, 0, :2].round().astype(int))].found_px, points, atol=1e-3)


# --- left and right ---


@pytest.mark.parametrize("layout", [COCO17, H36M17, BODY_25, HALPE26])
def test_sides_that_change_places_are_put_back(layout):
    points = walker(layout, T)
    wrong = points.copy()
    rng = np.random.default_rng(1)
    wrong[..., :2] += rng.normal(0, 1.0, wrong[..., :2].shape)  # a detector trembles
    clean = wrong.copy()
    whole, legs = [9, 10, 11, 12, 25, 40, 41], [30, 31, 32]
    other = list(mirror(layout.joints))
    wrong[whole] = wrong[whole][:, other]
    lower = [i for i, n in enumerate(layout.joints) if n[0] in "LR" and n[1:] in ("Hip", "Knee", "Ankle", "Foot")]
    for i in legs:
        wrong[i, lower] = wrong[i, [other[k] for k in lower]]
    got, changed = repair_swaps(wrong, layout)
    body = [i for i, n in enumerate(layout.joints) if "Toe" not in n and "Heel" not in n]
    np.testing.assert_array_equal(got[:, body], clean[:, body])
    assert np.flatnonzero(changed).tolist() == sorted([*whole, *legs])


@pytest.mark.parametrize("names", [("Shoulder", "Elbow", "Wrist"), ("Hip", "Knee", "Ankle")])
def test_one_bad_frame_turns_no_stretch_of_frames_round(names):
    """Both sides fall together in one frame, as if they crossed there: no reason to swap all that came before."""
    rng = np.random.default_rng(2)
    points = walker(COCO17, 40, speed=0.0)
    points[..., :2] += rng.normal(0, 1.0, points[..., :2].shape)
    for name in names:
        both = [COCO17.joints.index(side + name) for side in "LR"]
        points[16, both, :2] = points[16, both, :2].mean(0)
    got, changed = repair_swaps(points, COCO17)
    assert set(np.flatnonzero(changed)) <= {16}
    kept = np.delete(np.arange(40), 16)
    np.testing.assert_array_equal(got[kept], points[kept])


def test_nothing_is_swapped_that_is_right():
    """Noise, gaps, and someone who turns round: seen from the side, left and right lie on each other."""
    t = 120
    rng = np.random.default_rng(0)
    points = walker(COCO17, t, speed=0.0)
    middle = points[:, :, :1].mean(1, keepdims=True)
    points[..., :1] = middle + (points[..., :1] - middle) * np.cos(np.arange(t) / 20)[:, None, None]
    points[..., :2] += rng.normal(0, 2.0, points[..., :2].shape)
    points[rng.random((t, 17)) < 0.1] = (np.nan, np.nan, 0)
    points[50:55] = (np.nan, np.nan, 0)
    got, changed = repair_swaps(points, COCO17)
    assert not changed.any()
    np.testing.assert_array_equal(got, points)
    few = np.full((2, 17, 3), np.nan)
    assert not repair_swaps(few, COCO17)[1].any()


def test_repaired_sides_are_said(tmp_path):
    points = walker(COCO17, T)
    wrong = points.copy()
    wrong[20:24] = wrong[20:24][:, list(mirror(COCO17.joints))]
    got = read_keypoints(save(tmp_path / "k.json", [[(p, None)] for p in wrong]), size_px=SIZE, fps=50.0)
    is_person(got.points_px, points)
    np.testing.assert_allclose(got.found_px, points, atol=1e-3)
    assert "left and right put back in 4 frames" in got.note


# --- layouts ---


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        *[("left_ankle", "LAnkle"), ("LeftAnkle", "LAnkle"), ("ankle_l", "LAnkle"), ("LAnkle", "LAnkle")],
        *[("r_hip", "RHip"), ("RHip", "RHip"), ("rshoulder", "RShoulder"), ("right-big-toe", "RBigToe")],
        *[
            ("pelvis", "Hip"),
            ("MidHip", "Hip"),
            ("head_top", "Head"),
            ("right_foot", "RAnkle"),
            ("REyeInner", "REyeInner"),
        ],
        *[("face-0", None), ("tail", None), ("left", None), ("left_face_3", None), ("", None)],
    ],
)
def test_names_of_joints_in_any_spelling(name, standard):
    assert standard_name(name) == standard


def test_a_layout_is_made_of_names_alone():
    names = [
        "tail",
        "left_shoulder",
        "right_shoulder",
        "left_hip",
        "right_hip",
        "left_knee",
        "nose",
        "left_ear",
        "right_ear",
    ]
    layout = layout_of_names(Path("k.csv"), names)
    points = np.random.default_rng(0).normal(size=(1, 9, 3)) ** 2 + 1
    got = to_h36m17(torch.from_numpy(points), layout)[0].numpy()
    np.testing.assert_allclose(got[0, :2], points[0, [3, 4], :2].mean(0))  # Hip
    np.testing.assert_allclose(got[8, :2], points[0, [1, 2], :2].mean(0))  # Thorax
    np.testing.assert_allclose(got[7, :2], points[0, 1:5, :2].mean(0))  # Spine
    np.testing.assert_allclose(got[10, :2], points[0, [7, 8], :2].mean(0))  # Head, between the ears
    assert np.isnan(got[[2, 3, 6], :2]).all()  # RKnee and the feet are nowhere
    with pytest.raises(BadInput, match=r"k\.csv: of its 2 joints \(a, b, \.\.\.\) the names give 0"):
        layout_of_names(Path("k.csv"), ["a", "b"])


@pytest.mark.parametrize("layout", [COCO17, H36M17, POSETRACK17])
def test_the_body_tells_layouts_of_one_size_apart(layout):
    points = walker(layout, T)
    likeness = {other.name: body_likeness(points, other) for other in (COCO17, H36M17, POSETRACK17)}
    assert max(likeness, key=lambda name: likeness[name]) == layout.name
    assert likeness[layout.name] > 0.95
    assert body_likeness(np.full((3, 17, 3), np.nan), layout) == 0.0


def test_what_nothing_decides_is_refused_with_the_candidates(tmp_path):
    points = np.random.default_rng(0).uniform(100, 700, (5, 17, 3))
    np.savez(tmp_path / "a.npz", keypoints=points, size_px=SIZE)
    with pytest.raises(
        BadInput, match=r"17 joints may be COCO-17 or Human3.6M-17 or PoseTrack-17; say which with `layout`"
    ):
        read_keypoints(tmp_path / "a.npz")


# --- what cannot be meant ---


def test_joints_far_outside_the_image_are_missing(tmp_path):
    points = walker(COCO17, T)
    wild = points.copy()
    wild[7, 9, :2] = 1e9
    wild[8, 3, 0] = -1200.0
    got = read_keypoints(save(tmp_path / "k.json", [[(p, None)] for p in wild]), size_px=SIZE)
    missing = np.isnan(got.found_px[..., 0])
    assert [tuple(at) for at in np.argwhere(missing).tolist()] == [(7, 9), (8, 3)]
    assert "2 joints far outside the image count as missing" in got.note
    np.testing.assert_allclose(got.points_px[..., :2], to_h36m17(torch.from_numpy(points), COCO17)[..., :2], atol=1.5)
    assert np.abs(got.points_px[..., :2]).max() < 2000


def turned(points: np.ndarray, how: str) -> np.ndarray:
    out = points.copy()
    x, y = points[..., 0], points[..., 1]
    out[..., 0], out[..., 1] = {"up": (x, y), "down": (x, 800 - y), "side": (y, 900 - x)}[how]
    return out


@pytest.mark.parametrize(
    ("how", "warning"), [("up", None), ("down", "upside down in the image"), ("side", "lies on its side in the image")]
)
def test_a_body_that_hangs_or_lies_is_warned_of(tmp_path, how, warning):
    points = turned(walker(COCO17, T), how)
    got = read_keypoints(save(tmp_path / "k.json", [[(p, None)] for p in points]), size_px=(1000, 1000))
    if warning is None:
        assert got.warnings == ()
    else:
        assert warning in got.warnings[0]
        assert "turned by" in got.warnings[0]


def test_keypoints_that_fit_the_turned_image_say_so(tmp_path):
    points = walker(COCO17, T) * (1, 1.9, 1)
    path = save(tmp_path / "k.json", [[(p, None)] for p in points])
    with pytest.raises(BadInput, match=r"outside an image of 1200x500, but they fit 500x1200: the video was turned"):
        read_keypoints(path, size_px=(1200, 500))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_px": (10**12, 10**12)}, r"k\.json: an image's size must be 1 to 100000 px"),
        ({"size_px": (0, 10)}, r"k\.json: an image's size must be 1"),
        ({"fps": 1e300}, r"k\.json: the frame rate must be positive and at most 100000"),
        ({"fps": float("nan")}, r"k\.json: the frame rate must be positive"),
        ({"person": 5}, r"k\.json: no person 5; the only person is 0 \(60 frames\)"),
        ({"layout": "halpe"}, r"k\.json: has 17 joints, Halpe-26 has 26; say another `layout`"),
    ],
)
def test_arguments_that_cannot_be_meant(tmp_path, options, message):
    path = save(tmp_path / "k.json", [[(p, None)] for p in walker(COCO17, T)])
    with pytest.raises(BadInput, match=message):
        read_keypoints(path, **({"size_px": SIZE} | options))
