import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st.data.pose.keypoints import STANDING, Keypoints, read_keypoints, write_people
from moga_st.data.pose.skeleton import BODY_25, COCO17, H36M17, HALPE26, JOINTS, Layout, to_h36m17
from moga_st.data.pose.windows import blend, cut, windows
from moga_st.errors import BadInput

SIZE = (1000, 800)


def person(layout: Layout, t: int, x: float = 300.0, tall: float = 1.0, seed: int = 0) -> np.ndarray:
    """Keypoints (t, j, 3) of a made-up body that walks right by 2 px a frame, all seen with confidence 0.9."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform((-40, -150), (40, 150), (len(layout.joints), 2)) * tall
    xy = shape + np.array([x, 400.0]) + np.arange(t)[:, None, None] * (2.0, 0.0)
    return np.concatenate([xy, np.full((t, len(layout.joints), 1), 0.9)], axis=-1)


def as_h36m(points: np.ndarray, layout: Layout) -> np.ndarray:
    return to_h36m17(torch.from_numpy(points), layout).numpy()


def save_npz(path: Path, points: np.ndarray, **more: object) -> Path:
    np.savez(path, keypoints=points, size_px=SIZE, **more)  # pyright: ignore[reportArgumentType]
    return path


def save_json(path: Path, content: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco_entries(points: np.ndarray, first: int = 0) -> list[dict]:
    return [
        {"image_id": first + i, "category_id": 1, "keypoints": p.ravel().tolist(), "score": 0.8}
        for i, p in enumerate(points)
    ]


def openpose(people: list[np.ndarray], ids: list[int] | None = None) -> dict:
    ids = ids or [-1] * len(people)
    found = [
        {"person_id": [k], "pose_keypoints_2d": p.ravel().tolist(), "hand_left_keypoints_2d": []}
        for k, p in zip(ids, people, strict=True)
    ]
    return {"version": 1.3, "people": found}


def mmpose_instance(points: np.ndarray) -> dict:
    low, high = points[:, :2].min(0).tolist(), points[:, :2].max(0).tolist()
    return {
        "keypoints": points[:, :2].tolist(),
        "keypoint_scores": points[:, 2].tolist(),
        "bbox": [[*low, *high]],
        "bbox_score": 0.9,
    }


def check(got: Keypoints, points: np.ndarray, layout: Layout) -> None:
    np.testing.assert_allclose(got.points_px, as_h36m(points, layout), atol=1e-3)
    assert got.points_px.dtype == np.float32
    assert got.layout == layout.name
    assert got.size_px == SIZE


# --- formats ---


@pytest.mark.parametrize(("layout", "name"), [(H36M17, "h36m"), (COCO17, "COCO-17"), (BODY_25, None), (HALPE26, None)])
def test_npz_in_every_layout(tmp_path, layout, name):
    points = person(layout, 6)
    got = read_keypoints(save_npz(tmp_path / "a.npz", points, fps=25.0, **({"layout": name} if name else {})))
    check(got, points, layout)
    assert got.fps == 25.0
    assert "assumed" not in got.note
    assert "filled 0 of 102 joints" in got.note


def test_npz_without_confidence_and_what_the_caller_says_counts(tmp_path):
    points = person(H36M17, 4)
    np.savez(tmp_path / "a.npz", keypoints=points[..., :2])
    got = read_keypoints(tmp_path / "a.npz", size_px=SIZE, layout="h36m", fps=50.0)
    points[..., 2] = 1.0
    check(got, points, H36M17)
    unseen = points.copy()
    unseen[2, 5] = 0.0  # no confidence says so, but nothing is seen at exactly (0, 0)
    np.savez(tmp_path / "a.npz", keypoints=unseen[..., :2])
    got = read_keypoints(tmp_path / "a.npz", size_px=SIZE, layout="h36m", fps=50.0)
    points[2, 5, 2] = 0.0
    check(got, points, H36M17)
    assert got.fps == 50.0


def test_coco_results_keep_their_numbers(tmp_path):
    points = person(COCO17, 5)
    entries = coco_entries(points, first=7)
    got = read_keypoints(save_json(tmp_path / "a.json", entries[::-1]), size_px=SIZE)
    check(got, points, COCO17)
    assert got.first_frame == 7
    assert "COCO results" in got.note
    assert "frames 7 to 11" in got.note
    assert "30 fps (assumed)" in got.note


def test_alphapose_file_names_and_ids(tmp_path):
    near, far = person(HALPE26, 12, tall=1.5), person(HALPE26, 12, x=700, seed=1)
    entries = [
        {"image_id": f"{i}.jpg", "keypoints": p[i].ravel().tolist(), "score": 2.9, "box": [1, 2, 3, 4], "idx": idx}
        for idx, p in ((3, far), ([5.0], near))
        for i in sorted(range(12), key=str)  # AlphaPose's own order: 0, 1, 10, 11, 2, ...
    ]
    path = save_json(tmp_path / "a.json", entries)
    check(read_keypoints(path, size_px=SIZE), near, HALPE26)
    assert "AlphaPose" in read_keypoints(path, size_px=SIZE).note
    assert "person 5 of 2 (numbered in the file, the largest boxes" in read_keypoints(path, size_px=SIZE).note
    check(read_keypoints(path, size_px=SIZE, person=3), far, HALPE26)


def test_whole_body_files_give_their_bodies(tmp_path):
    points = person(HALPE26, 3)
    whole = np.concatenate([points, np.full((3, 110, 3), 7.0)], axis=1)
    entries = [{"image_id": f"{i:06}.png", "keypoints": p.ravel().tolist(), "score": 1.0} for i, p in enumerate(whole)]
    check(read_keypoints(save_json(tmp_path / "a.json", entries), size_px=SIZE), points, HALPE26)


def test_openpose_folder_and_list(tmp_path):
    points = person(BODY_25, 4)
    for i, p in enumerate(points):
        save_json(tmp_path / "out" / f"walk2_{i + 10:012}_keypoints.json", openpose([p]))
    got = read_keypoints(tmp_path / "out", size_px=SIZE)
    check(got, points, BODY_25)
    assert got.first_frame == 10
    as_list = save_json(tmp_path / "list.json", [openpose([p]) for p in points])
    check(read_keypoints(as_list, size_px=SIZE), points, BODY_25)


def test_openpose_person_ids_are_used(tmp_path):
    a, b = person(BODY_25, 3, tall=0.5), person(BODY_25, 3, x=320)
    # the two swap places in the file, so only the ids keep them apart
    frames = [openpose([a[0], b[0]], [0, 1]), openpose([b[1], a[1]], [1, 0]), openpose([a[2], b[2]], [0, 1])]
    path = save_json(tmp_path / "a.json", frames)
    check(read_keypoints(path, size_px=SIZE, person=0), a, BODY_25)
    check(read_keypoints(path, size_px=SIZE), b, BODY_25)


@pytest.mark.parametrize("wrapped", [False, True])
def test_mmpose_video_files(tmp_path, wrapped):
    points = person(COCO17, 4)
    frames: object = [{"frame_id": i, "instances": [mmpose_instance(p)]} for i, p in enumerate(points)]
    content = {"meta_info": {"dataset_name": "coco"}, "instance_info": frames} if wrapped else frames
    got = read_keypoints(save_json(tmp_path / "a.json", content), size_px=SIZE)
    check(got, points, COCO17)
    assert "mmpose" in got.note


def test_mmpose_folder_of_images_with_an_empty_one(tmp_path):
    points = person(COCO17, 5)
    for i, p in enumerate(points):
        save_json(tmp_path / "out" / f"{i:04}.json", [] if i == 2 else [mmpose_instance(p)])
    got = read_keypoints(tmp_path / "out", size_px=SIZE)
    expected = as_h36m(points, COCO17)
    expected[2, :, 2] = 0.0  # the walk is straight, so what is filled in is right but unsure
    np.testing.assert_allclose(got.points_px, expected, atol=1e-3)


# --- people ---


def test_people_without_ids_are_followed_by_their_boxes(tmp_path):
    """Two people, swapped in the file at random and one gone for two frames, come apart by place alone."""
    big, small = person(COCO17, 20, x=250), person(COCO17, 20, x=700, tall=0.6, seed=1)
    rng = np.random.default_rng(0)
    frames = []
    for i in range(20):
        people = [mmpose_instance(big[i])] + ([] if i in (8, 9) else [mmpose_instance(small[i])])
        frames.append({"frame_id": i, "instances": [people[k] for k in rng.permutation(len(people))]})
    frames[0]["instances"] = [mmpose_instance(small[0]), mmpose_instance(big[0])]
    path = save_json(tmp_path / "a.json", frames)
    got = read_keypoints(path, size_px=SIZE)
    check(got, big, COCO17)
    assert "person 0 of 2 (followed over the frames, the largest boxes summed over the frames)" in got.note
    assert (got.person, got.people) == (0, 2)
    other = read_keypoints(path, size_px=SIZE, person=1)
    np.testing.assert_allclose(other.points_px[..., :2], as_h36m(small, COCO17)[..., :2], atol=1e-3)
    np.testing.assert_array_equal(other.points_px[..., 2].max(1) == 0, np.isin(np.arange(20), (8, 9)))


def test_a_person_who_comes_later_is_cut_to_their_own_frames(tmp_path):
    early, late = person(BODY_25, 6, tall=0.4), person(BODY_25, 6, x=700)
    frames = [openpose([early[i]] + ([late[i]] if 2 <= i < 5 else [])) for i in range(6)]
    got = read_keypoints(save_json(tmp_path / "a.json", frames), size_px=SIZE, person=1)
    check(got, late[2:5], BODY_25)
    assert got.first_frame == 2


def test_of_two_who_overlap_each_goes_on_where_the_overlap_is_largest(tmp_path):
    a, b = person(COCO17, 8, x=300), person(COCO17, 8, x=325, tall=1.02)
    frames = [
        {"frame_id": i, "instances": [mmpose_instance(p[i]) for p in ((a, b) if i % 2 else (b, a))]} for i in range(8)
    ]
    path = save_json(tmp_path / "a.json", frames)
    check(read_keypoints(path, size_px=SIZE, person=0), a, COCO17)
    check(read_keypoints(path, size_px=SIZE, person=1), b, COCO17)


def test_one_person_who_runs_stays_one_person(tmp_path):
    """Boxes need not overlap where the frames are far apart: half a body in a fifth of a second is a fast run, in a
    30th of one it is someone else."""
    points = person(COCO17, 4)
    points[..., 0] += np.arange(4)[:, None] * 150.0 - 200.0
    path = save_json(tmp_path / "a.json", coco_entries(points))
    got = read_keypoints(path, size_px=SIZE, fps=5.0)
    check(got, points, COCO17)
    assert "the only person" in got.note
    assert read_keypoints(path, size_px=SIZE, fps=30.0).people == 4


def test_people_written_are_read_with_all_that_the_video_says(tmp_path):
    big, small = person(HALPE26, 6), person(HALPE26, 6, x=700, tall=0.5)
    small[3, 4, 2] = 0.0
    people = [[b, s] if i != 2 else [] for i, (b, s) in enumerate(zip(big, small, strict=True))]
    write_people(tmp_path / "a.json", people, SIZE, 12.5, "halpe", "Seer")
    got = read_keypoints(tmp_path / "a.json")
    assert "a.json: Seer, Halpe-26" in got.note
    assert (got.size_px, got.fps, got.layout, got.people, got.first_frame) == (SIZE, 12.5, HALPE26.name, 2, 0)
    expected = as_h36m(big, HALPE26)
    expected[2, :, 2] = 0.0
    np.testing.assert_allclose(got.points_px, expected, atol=0.006)  # written with two decimals


def test_joints_below_the_threshold_do_not_make_a_person_large(tmp_path):
    sure, ghost = person(COCO17, 5, tall=0.5), person(COCO17, 5, x=700)
    ghost[:, :, 2] = 0.1
    frames = [{"frame_id": i, "instances": [mmpose_instance(ghost[i]), mmpose_instance(sure[i])]} for i in range(5)]
    got = read_keypoints(save_json(tmp_path / "a.json", frames), size_px=SIZE)
    check(got, sure, COCO17)
    assert (got.person, got.people) == (0, 1)  # nor a person of their own
    with pytest.raises(BadInput, match=r"a\.json: no joint of anyone has .* 0.95 or more; lower `min_confidence`"):
        read_keypoints(tmp_path / "a.json", size_px=SIZE, min_confidence=0.95)


# --- missing joints and frames ---


def body(t: int) -> np.ndarray:
    """Human3.6M-17 keypoints of a standing body that walks right and bends: joints do not move in straight lines."""
    i = np.arange(t)[:, None]
    xy = STANDING * 100 + np.array([300.0, 400.0]) + np.arange(t)[:, None, None] * (4.0, 0.0)
    xy[..., 1] += 20 * np.sin(i / 3 + np.arange(17))
    return np.concatenate([xy, np.full((t, 17, 1), 0.8)], axis=-1)


def test_short_gaps_are_linear_in_time_and_held_at_the_ends(tmp_path):
    points = body(30)
    truth = points.copy()
    points[10:14, 3, 2] = 0.1  # below the threshold
    points[20, 13] = np.nan
    points[0:3, 16] = 0.0  # at the very corner: OpenPose's way to say that it saw nothing
    points[28:, 10, 2] = 0.0
    got = read_keypoints(save_npz(tmp_path / "a.npz", points, layout="h36m", fps=20.0), max_gap_s=0.2)
    slow = truth.copy()
    for k in range(10, 14):  # between frames 9 and 14
        slow[k, 3, :2] = truth[9, 3, :2] + (truth[14, 3, :2] - truth[9, 3, :2]) * (k - 9) / 5
    slow[20, 13, :2] = (truth[19, 13, :2] + truth[21, 13, :2]) / 2
    slow[0:3, 16, :2] = truth[3, 16, :2]
    slow[28:, 10, :2] = truth[27, 10, :2]
    slow[10:14, 3, 2] = slow[20, 13, 2] = slow[0:3, 16, 2] = slow[28:, 10, 2] = 0.0
    np.testing.assert_allclose(got.points_px, slow, atol=1e-3)
    assert "filled 10 of 510 joints: 10 between neighbours in time (gaps up to 4 frames)" in got.note


def test_long_gaps_follow_the_nearest_ancestor(tmp_path):
    """The left foot is gone for 15 frames and the knee for good: the foot goes along with the hip."""
    points = body(30)
    truth = points.copy()
    points[10:25, 6, 2] = 0.0
    points[:, 5, 2] = 0.0
    got = read_keypoints(save_npz(tmp_path / "a.npz", points, layout="h36m", fps=10.0), max_gap_s=0.5).points_px
    for k in range(10, 25):
        offset = [truth[i, 6, :2] - truth[i, 4, :2] for i in (9, 25)]
        expected = truth[k, 4, :2] + offset[0] + (offset[1] - offset[0]) * (k - 9) / 16
        np.testing.assert_allclose(got[k, 6, :2], expected, atol=1e-3)
    assert (got[10:25, 6, 2] == 0).all()


@pytest.mark.parametrize("behind", [False, True])
def test_joints_that_never_appear_come_from_a_standing_body(tmp_path, behind):
    """A body in the shape of STANDING, whatever its size and side, without legs: they grow back in their places."""
    shape = STANDING * ((-1, 1) if behind else (1, 1)) * 130 + np.array([400.0, 300.0])
    points = np.concatenate([np.tile(shape, (5, 1, 1)), np.full((5, 17, 1), 0.9)], axis=-1)
    legs = [1, 2, 3, 4, 5, 6]
    points[:, legs, 2] = 0.0
    got = read_keypoints(save_npz(tmp_path / "a.npz", points, layout="h36m"))
    np.testing.assert_allclose(got.points_px[:, :, :2], np.tile(shape, (5, 1, 1)), atol=0.1)
    assert (got.points_px[:, legs, 2] == 0).all()
    assert "30 as in a standing body (never seen: RHip, RKnee, RFoot, LHip, LKnee, LFoot)" in got.note
    # without the hips a root is found too
    points[:, [0, 7], 2] = 0.0
    got = read_keypoints(save_npz(tmp_path / "a.npz", points, layout="h36m"))
    np.testing.assert_allclose(got.points_px[:, :, :2], np.tile(shape, (5, 1, 1)), atol=30)


def test_missing_frames_are_filled(tmp_path):
    points = person(COCO17, 12)
    entries = [e for i, e in enumerate(coco_entries(points, first=100)) if i not in (4, 5, 9)]
    got = read_keypoints(save_json(tmp_path / "a.json", entries), size_px=SIZE)
    expected = as_h36m(points, COCO17)
    expected[[4, 5, 9], :, 2] = 0
    np.testing.assert_allclose(got.points_px, expected, atol=1e-3)  # a straight walk
    assert "filled 51 of 204 joints" in got.note


def test_a_constant_step_between_numbers_is_one_frame(tmp_path):
    points = person(COCO17, 5)
    entries = coco_entries(points)
    for i, e in enumerate(entries):
        e["image_id"] = 3 + 5 * i
    got = read_keypoints(save_json(tmp_path / "a.json", entries), size_px=SIZE)
    check(got, points, COCO17)
    assert (got.first_frame, got.frame_step) == (3, 5)
    assert "frames 3 to 23 in steps of 5" in got.note


def test_numbers_that_are_times_are_no_frames(tmp_path):
    entries = coco_entries(person(COCO17, 5))
    for i, e in enumerate(entries):
        e["image_id"] = 33_333_333 * i  # nanoseconds
    with pytest.raises(BadInput, match=r"a\.json: its frames are numbered in steps of 33,333,333, .* s from"):
        read_keypoints(save_json(tmp_path / "a.json", entries), size_px=SIZE)


def test_the_frame_rate_is_that_of_the_numbering_and_falls_with_the_step(tmp_path):
    """Every 5th frame at 50 fps is 10 fps, in which a gap of 4 frames is short for 0.5 s and one of 6 is long."""
    points = body(30)
    points[5:9, 3, 2] = points[15:21, 3, 2] = 0.0
    write_people(tmp_path / "a.json", [[p] for p in points], SIZE, 50.0, "h36m")
    content = json.loads((tmp_path / "a.json").read_text())
    for frame in content["instance_info"]:
        frame["frame_id"] *= 5
    for fps, expected in ((None, 10.0), (100.0, 20.0)):
        got = read_keypoints(save_json(tmp_path / "a.json", content), fps=fps)
        assert (got.fps, got.frame_step) == (expected, 5)
    assert "20 fps" in got.note
    note = read_keypoints(tmp_path / "a.json").note
    assert "4 between neighbours in time (gaps up to 5 frames), 6 along with the body" in note
    del content["meta_info"]
    got = read_keypoints(save_json(tmp_path / "a.json", content), size_px=SIZE, layout="h36m")
    assert got.fps == 6.0
    assert "6 fps (assumed)" in got.note


@pytest.mark.parametrize("form", ["OpenPose folder", "OpenPose list", "mmpose list", "mmpose folder"])
def test_frames_listed_without_people_count_for_the_step(tmp_path, form):
    """A person found in every second of 9 frames was there for 9 frames."""
    program, _, kind = form.partition(" ")
    layout = BODY_25 if program == "OpenPose" else COCO17
    points = person(layout, 9)
    people = [[p] if i % 2 == 0 else [] for i, p in enumerate(points)]
    if program == "OpenPose":
        contents: list = [openpose(found) for found in people]
    else:
        contents = [[mmpose_instance(p) for p in found] for found in people]
    path = tmp_path / "a.json"
    if kind == "folder":
        path = tmp_path / "out"
        for i, content in enumerate(contents):
            save_json(path / f"{i:04}{'_keypoints' if program == 'OpenPose' else ''}.json", content)
    elif program == "OpenPose":
        save_json(path, contents)
    else:
        save_json(path, [{"frame_id": i, "instances": found} for i, found in enumerate(contents)])
    got = read_keypoints(path, size_px=SIZE, fps=30.0)
    assert (got.frame_step, got.fps) == (1, 30.0)
    expected = as_h36m(points, layout)
    expected[1::2, :, 2] = 0.0
    np.testing.assert_allclose(got.points_px, expected, atol=1e-3)  # a straight walk


def test_everything_given_back_is_finite_whatever_is_missing(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(20):
        points = body(25)
        points[rng.random((25, 17)) < rng.uniform(0.3, 0.99)] = np.nan
        points[:, rng.random(17) < 0.4] = 0
        points[rng.integers(25), rng.integers(17)] = (500, 400, 0.9)  # something is seen
        found = read_keypoints(save_npz(tmp_path / "a.npz", points, layout="h36m"), max_gap_s=seed / 20)
        got, points = found.points_px, points[found.frames]
        assert np.isfinite(got).all()
        seen = np.isfinite(points).all(-1) & (points[..., 2] > 0)
        np.testing.assert_array_equal(found.invented, ~seen)
        np.testing.assert_allclose(got[seen], points[seen], atol=1e-3)
        np.testing.assert_array_equal(got[..., 2] > 0, seen)


# --- bad input ---


def test_bad_input_names_the_file_and_the_remedy(tmp_path):
    points = person(COCO17, 3)
    entries = coco_entries(points)

    def refuse(match: str, path: Path, **options: object) -> None:
        with pytest.raises(BadInput, match=match) as error:
            read_keypoints(path, **({"size_px": SIZE} | options))  # pyright: ignore[reportArgumentType]
        if "unknown layout" not in match and "min_conf" not in match and "positive" not in match:
            assert path.name in str(error.value)

    good = save_json(tmp_path / "good.json", entries)
    refuse("no such file", tmp_path / "nowhere.json")
    refuse("no such file", tmp_path / "nowhere.npz")
    (tmp_path / "cut.json").write_text(json.dumps(entries)[:-5])
    refuse("cannot be read as JSON", tmp_path / "cut.json")
    (tmp_path / "empty").mkdir()
    refuse(r"no \.json file", tmp_path / "empty")
    refuse("holds no person", save_json(tmp_path / "none.json", []))
    refuse("holds no person", save_json(tmp_path / "none.json", [openpose([])]))
    refuse("not keypoints", save_json(tmp_path / "else.json", {"a": 1}))
    refuse("not keypoints", save_json(tmp_path / "else.json", [{"image_id": 1}]))
    refuse("not keypoints", save_json(tmp_path / "else.json", [{"image_id": 1, "keypoints": [1.0, 2.0]}]))
    mixed = [*entries, {"image_id": 9, "keypoints": [1.0] * 75, "score": 1.0}]
    refuse("mixed keypoint layouts", save_json(tmp_path / "mixed.json", mixed))
    save_json(tmp_path / "both" / "0.json", openpose([points[0]]))
    save_json(tmp_path / "both" / "1.json", [mmpose_instance(points[1])])
    refuse("mixes OpenPose and mmpose", tmp_path / "both")
    refuse("no person 3; the only person is 0 ", save_json(tmp_path / "one.json", entries), person=3)
    refuse("give its width and height", good, size_px=None)
    refuse("outside an image of 100x100", good, size_px=(100, 100))
    refuse("unknown layout 'coko' .*did you mean 'coco'", good, layout="coko")
    refuse("17 joints, OpenPose BODY_25 has 25", good, layout="body_25")
    refuse("min_confidence", good, min_confidence=2.0)
    refuse("frame rate must be positive", good, fps=-1.0)
    refuse("a confidence of 0.95 or more", good, min_confidence=0.95)
    entries[-1]["image_id"] = 100_000
    refuse("which is no clip", save_json(tmp_path / "photos.json", entries))
    refuse("say which with `layout`: h36m or coco or posetrack", save_npz(tmp_path / "a.npz", points))
    refuse("19 joints are no layout", save_npz(tmp_path / "a.npz", np.ones((3, 19, 3))))
    refuse(r"shape \(t, j, 2 or 3\)", save_npz(tmp_path / "a.npz", points[0]))
    centred = points * (1 / 500, 1 / 500, 1) - (1, 1, 0)
    refuse("look normalised", save_npz(tmp_path / "a.npz", centred, layout="coco"), min_confidence=0.0)
    refuse("no joint", save_npz(tmp_path / "a.npz", points * np.nan, layout="coco"))
    np.savez(tmp_path / "a.npz", poses=points)
    refuse("has no array 'keypoints'.*it has poses", tmp_path / "a.npz")


# --- windows ---


@pytest.mark.parametrize(
    ("t", "length", "stride"), [(1, 1, 1), (10, 3, 2), (100, 27, 9), (27, 27, 27), (5, 27, 13), (81, 27, 27)]
)
def test_windows_cover_everything_and_blend_undoes_cut(t, length, stride):
    starts = windows(t, length, stride)
    assert len(set(starts.tolist())) == len(starts)
    assert (np.diff(starts) <= stride).all()
    covered = {s + i for s in starts.tolist() for i in range(length)}
    assert set(range(t)) <= covered
    if t >= length:
        assert covered == set(range(t))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(t, 17, 3)).astype(np.float32)
    pieces = cut(x, starts, length)
    for s, piece in zip(starts.tolist(), pieces, strict=True):
        for i in range(length):
            np.testing.assert_array_equal(piece[i], x[min(max(s + i, 0), t - 1)])
    np.testing.assert_array_equal(blend(pieces, starts, t), x)  # windows that agree: exact
    np.testing.assert_array_equal(blend(np.full_like(pieces, 0.1), starts, t), np.full_like(x, 0.1))


def test_short_clips_lie_in_the_middle_of_their_window():
    assert windows(5, 27, 9).tolist() == [-11]
    piece = cut(np.arange(5.0).reshape(5, 1, 1), windows(5, 27, 9), 27)[0, :, 0]
    assert piece[:, 0].tolist() == [0.0] * 12 + [1, 2, 3] + [4.0] * 12


def test_blend_weighs_by_the_distance_from_the_window_s_ends():
    starts = np.array([0, 2])
    predictions = np.zeros((2, 5, 1, 3))
    predictions[1] = 1.0
    # weights 1 2 3 2 1, so frame 2 has 3 against 1, frame 3 has 2 against 2, frame 4 has 1 against 3
    np.testing.assert_allclose(blend(predictions, starts, 7)[:, 0, 0], [0, 0, 1 / 4, 1 / 2, 3 / 4, 1, 1])
    with pytest.raises(BadInput, match="no window covers frame 7 of 8"):
        blend(predictions, starts, 8)
    for t, length, stride in ((0, 3, 1), (5, 0, 1), (5, 3, 0), (5, 3, 4)):
        with pytest.raises(BadInput, match="windows: need"):
            windows(t, length, stride)


def test_standing_is_a_body_that_faces_us():
    place = dict(zip(JOINTS, STANDING.tolist(), strict=True))
    for left in (n for n in JOINTS if n[0] == "L"):
        right = place["R" + left[1:]]
        assert place[left][0] > 0  # our right
        assert right == [-place[left][0], place[left][1]]
    down = ["Head", "Neck/Nose", "Thorax", "Spine", "Hip", "LKnee", "LFoot"]
    assert [place[n][1] for n in down] == sorted(place[n][1] for n in down)
    assert np.linalg.norm(STANDING[8] - STANDING[0]) == 1
