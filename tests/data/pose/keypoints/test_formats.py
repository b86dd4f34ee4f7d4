"""Every format is written here as its program writes it, and read as the person that it shows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st.data.pose.keypoints import Keypoints, holds_keypoints, read_keypoints, read_people
from moga_st.data.pose.skeleton import (
    BODY_25,
    COCO17,
    COCO_WHOLEBODY,
    H36M17,
    HALPE26,
    MEDIAPIPE33,
    OPENPOSE18,
    POSETRACK17,
    Layout,
    to_canonical,
    to_h36m17,
)
from moga_st.errors import BadInput
from tests.data.pose.keypoints.walker import SIZE, walker

T = 6


def save(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def check(got: Keypoints, layout: Layout, points: np.ndarray | None = None) -> None:
    expected = torch.from_numpy(walker(layout, T) if points is None else points)
    np.testing.assert_allclose(got.points_px, to_h36m17(expected, layout), atol=2e-3)
    np.testing.assert_allclose(got.canonical_px, to_canonical(expected, layout), atol=2e-3)
    np.testing.assert_allclose(got.found_px, expected, atol=2e-3)
    assert (got.layout, got.joints, got.size_px) == (layout.name, layout.joints, SIZE)


def flat(points: np.ndarray) -> list[float]:
    return points.ravel().tolist()


def split(points: np.ndarray) -> dict:
    return {"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist()}


# --- JSON ---


@pytest.mark.parametrize("layout", [BODY_25, OPENPOSE18])
@pytest.mark.parametrize("key", ["pose_keypoints_2d", "pose_keypoints"])  # of versions 1.3 and 1.0
def test_openpose_folders(tmp_path, layout, key):
    for i, p in enumerate(walker(layout, T)):
        save(tmp_path / "o" / f"clip_{i:012}_keypoints.json", {"version": 1.3, "people": [{key: flat(p)}]})
    check(read_keypoints(tmp_path / "o", size_px=SIZE), layout)


@pytest.mark.parametrize(("form", "layout"), [("open", OPENPOSE18), ("cmu", OPENPOSE18), ("open", COCO17)])
def test_alphapose_forms_with_an_entry_an_image(tmp_path, form, layout):
    people, key = {"open": ("people", "pose_keypoints_2d"), "cmu": ("bodies", "joints")}[form]
    images = {f"{i}.jpg": {"version": "AlphaPose", people: [{key: flat(p)}]} for i, p in enumerate(walker(layout, 12))}
    # as text, 10.jpg comes before 2.jpg
    got = read_keypoints(save(tmp_path / "a.json", dict(sorted(images.items()))), size_px=SIZE)
    check(got, layout, walker(layout, 12))
    for name, image in images.items():
        save(tmp_path / "sep" / f"{name[:-4]}.json", image)
    check(read_keypoints(tmp_path / "sep", size_px=SIZE), layout, walker(layout, 12))


def test_poseflow(tmp_path):
    images = {
        f"{i}.jpg": [{"keypoints": flat(p[:, :2]), "scores": p[:, 2:].tolist(), "idx": 4}]
        for i, p in enumerate(walker(COCO17, T))
    }
    got = read_keypoints(save(tmp_path / "a.json", images), size_px=SIZE)
    check(got, COCO17)
    assert got.person == 4


def coco_annotations(names: list[str], points: np.ndarray, **image: object) -> dict:
    flags = np.concatenate([points[..., :2], np.full((len(points), points.shape[1], 1), 2)], -1)
    return {
        "images": [
            {"id": 70 + i, "file_name": f"v/frame_{i}.jpg", "width": SIZE[0], "height": SIZE[1]}
            | dict.fromkeys(image, i + 5)
            for i in range(len(points))
        ],
        "annotations": [
            {"id": i, "image_id": 70 + i, "category_id": 1, "keypoints": flat(p), "iscrowd": 0, "track_id": 3}
            for i, p in enumerate(flags)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": []}],
    }


def test_coco_annotations_bring_names_size_and_flags(tmp_path):
    points = walker(COCO17, T)
    content = coco_annotations(["nose"], points)  # one name of 17 rules out Human3.6M
    content["annotations"][2]["keypoints"][9:12] = [0, 0, 0]
    got = read_keypoints(save(tmp_path / "a.json", content))
    points[..., 2] = 1.0
    points[2, 3] = (np.nan, np.nan, 0)
    np.testing.assert_allclose(got.found_px, points, atol=1e-3)
    assert (got.size_px, got.layout, got.first_frame) == (SIZE, "COCO-17", 0)


def test_posetrack_is_not_taken_for_coco(tmp_path):
    names = ["nose", "head_bottom", "head_top", "left_ear", "right_ear"]
    names += [f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right")]
    points = walker(POSETRACK17, T)
    got = read_keypoints(save(tmp_path / "a.json", coco_annotations(names, points, frame_id=True)))
    points[..., 2] = 1.0
    check(got, POSETRACK17, points)
    assert (got.first_frame, got.person) == (5, 3)
    head = got.points_px[:, 10]
    np.testing.assert_allclose(head, points[:, 2], atol=1e-3)  # the top of the head is the head
    # without names, from a program that does not say what it means, the body itself tells
    entries = [{"image_id": i, "keypoints": flat(p), "score": 1.0} for i, p in enumerate(points)]
    got = read_keypoints(save(tmp_path / "b.json", entries), size_px=SIZE)
    check(got, POSETRACK17, points)
    assert "by the body they make, though COCO results usually means COCO-17" in got.note


def mmpose(names: list[str], points: np.ndarray) -> dict:
    meta = {"dataset_name": "x", "keypoint_id2name": {str(i): n for i, n in enumerate(names)}}
    frames = [{"frame_id": i + 1, "instances": [split(p)]} for i, p in enumerate(points)]
    return {"meta_info": meta, "instance_info": frames}


H36M_NAMES = [
    *("root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine", "thorax"),
    *("neck_base", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
]


def test_names_in_a_file_decide(tmp_path):
    got = read_keypoints(save(tmp_path / "a.json", mmpose(H36M_NAMES, walker(H36M17, T))), size_px=SIZE)
    check(got, H36M17)
    assert (got.first_frame, got.frames.tolist()) == (1, [1, 2, 3, 4, 5, 6])
    whole = [f"?{n}" for n in range(133)]
    whole[:23] = COCO_WHOLEBODY.joints
    points = np.concatenate([walker(COCO_WHOLEBODY, T), np.full((T, 110, 3), 9.0)], 1)
    check(read_keypoints(save(tmp_path / "b.json", mmpose(whole, points)), size_px=SIZE), COCO_WHOLEBODY)


def test_joints_in_any_order_are_found_by_their_names(tmp_path):
    order = np.random.default_rng(0).permutation(17)
    names = [COCO17.joints[i] for i in order]
    got = read_keypoints(save(tmp_path / "a.json", mmpose(names, walker(COCO17, T)[:, order])), size_px=SIZE)
    expected = torch.from_numpy(walker(COCO17, T))
    np.testing.assert_allclose(got.points_px, to_h36m17(expected, COCO17), atol=2e-3)
    np.testing.assert_allclose(got.canonical_px, to_canonical(expected, COCO17), atol=2e-3)


@pytest.mark.parametrize("form", ["frames", "lists", "people", "pose_landmarks"])
def test_mediapipe(tmp_path, form):
    frames = [
        [{"x": x / SIZE[0], "y": y / SIZE[1], "z": 0.1, "visibility": c} for x, y, c in p.tolist()]
        for p in walker(MEDIAPIPE33, T)
    ]
    content: object = {
        "frames": [{"frame": i, "landmarks": f} for i, f in enumerate(frames)],
        "lists": frames,
        "people": [[f] for f in frames],
        "pose_landmarks": {"frames": [{"pose_landmarks": [f]} for f in frames]},
    }[form]
    got = read_keypoints(save(tmp_path / "a.json", content), size_px=SIZE)
    check(got, MEDIAPIPE33)
    assert "scaled to 1000x800" in got.note


def test_mediapipe_frames_without_anyone(tmp_path):
    points = walker(MEDIAPIPE33, T)
    frames = [
        {"frame": i, "landmarks": [] if i == 2 else [{"x": x / 1000, "y": y / 800} for x, y, _ in p.tolist()]}
        for i, p in enumerate(points)
    ]
    got = read_keypoints(save(tmp_path / "a.json", frames), size_px=SIZE)
    assert got.invented.all(1).tolist() == [i == 2 for i in range(T)]


def test_ultralytics_json(tmp_path):
    frames = [
        [
            {
                "name": "person",
                "confidence": 0.9,
                "keypoints": {"x": p[:, 0].tolist(), "y": p[:, 1].tolist(), "visible": p[:, 2].tolist()},
            },
            {"name": "dog", "confidence": 0.9, "keypoints": {"x": [1.0], "y": [2.0], "visible": [1.0]}},
        ]
        for p in walker(COCO17, T)
    ]
    check(read_keypoints(save(tmp_path / "a.json", frames), size_px=SIZE), COCO17)


@pytest.mark.parametrize("more", ["", " 0.91", " 0.91 7"])
@pytest.mark.parametrize("channels", [2, 3])
def test_yolo_folders(tmp_path, more, channels):
    points = walker(COCO17, 12)
    (tmp_path / "run" / "labels").mkdir(parents=True)
    for i, p in enumerate(points):
        if i in (4, 5):
            continue  # who is not found gets no file
        numbers = (p[:, :channels] / (*SIZE, 1)[:channels]).ravel()
        line = "0 0.5 0.5 0.2 0.4 " + " ".join(f"{v:.6f}" for v in numbers) + more
        (tmp_path / "run" / "labels" / f"clip_{i + 1}.txt").write_text(line + "\n")
    got = read_keypoints(tmp_path / "run", size_px=SIZE)
    np.testing.assert_allclose(got.points_px[..., :2], to_h36m17(torch.from_numpy(points), COCO17)[..., :2], atol=0.6)
    assert got.frames.tolist() == list(range(1, 13))
    assert got.invented.all(1).nonzero()[0].tolist() == [4, 5]
    assert got.person == (7 if more.endswith("7") else 0)
    (tmp_path / "run" / "labels" / "clip_1.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(BadInput, match="labels of boxes alone hold no pose"):
        read_keypoints(tmp_path / "run", size_px=SIZE)


def test_vitpose_has_y_before_x(tmp_path):
    frames = [{"3": p[:, [1, 0, 2]].tolist()} for p in walker(COCO17, T)]
    got = read_keypoints(save(tmp_path / "a.json", {"keypoints": frames, "skeleton": {"0": "nose"}}), size_px=SIZE)
    check(got, COCO17)
    assert "y, x" in got.note


# --- tables and arrays ---


def test_deeplabcut_tables(tmp_path):
    points = walker(COCO17, T)
    names = [f"{'left' if n[0] == 'L' else 'right'}_{n[1:].lower()}" if n != "Nose" else "nose" for n in COCO17.joints]
    rows = [
        ["scorer", *["DLC"] * 51],
        ["bodyparts", *[n for n in names for _ in range(3)]],
        ["coords", *["x", "y", "likelihood"] * 17],
        *[[str(i), *map(str, flat(p))] for i, p in enumerate(points)],
    ]
    rows[5][7:10] = ["", "", ""]  # not found in frame 2
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    got = read_keypoints(tmp_path / "a.csv", size_px=SIZE)
    points[2, 2] = (np.nan, np.nan, 0)
    np.testing.assert_allclose(got.found_px, points, atol=1e-3)
    assert got.layout == "COCO-17"
    rows[1] = ["bodyparts", *[f"paw{k}" for k in range(17) for _ in range(3)]]
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(BadInput, match=r"b\.csv: of its 17 joints \(paw0, .*name joints like left_shoulder"):
        read_keypoints(tmp_path / "b.csv", size_px=SIZE)


def test_deeplabcut_with_several_animals(tmp_path):
    two = [walker(COCO17, T), walker(COCO17, T, x=600.0)]
    rows = [
        ["scorer", *["DLC"] * 102],
        ["individuals", *[f"p{k}" for k in range(2) for _ in range(51)]],
        ["bodyparts", *[n for _ in range(2) for n in COCO17.joints for _ in range(3)]],
        ["coords", *["x", "y", "likelihood"] * 34],
        *[[str(i), *map(str, flat(two[0][i])), *map(str, flat(two[1][i]))] for i in range(T)],
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for k, got in enumerate(read_people(tmp_path / "a.csv", size_px=SIZE)):
        check(got, COCO17, two[k])


def save_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def test_videopose3d_custom_files(tmp_path):
    points = walker(COCO17, T)[..., :2].astype(np.float32)
    meta = {"layout_name": "coco", "num_joints": 17, "keypoints_symmetry": [[1], [2]]}
    meta["video_metadata"] = {"clip.mp4": {"w": SIZE[0], "h": SIZE[1]}}
    path = save_npz(tmp_path / "d.npz", positions_2d=np.array({"clip.mp4": {"custom": [points]}}), metadata=meta)
    expected = walker(COCO17, T)
    expected[..., 2] = 1.0
    check(read_keypoints(path), COCO17, expected)
    two = {"a.mp4": {"custom": [points]}, "b.mp4": {"custom": [points + 50]}}
    path = save_npz(tmp_path / "e.npz", positions_2d=np.array(two), metadata=meta)
    with pytest.raises(BadInput, match=r"holds 2 clips, say which with `clip`: a\.mp4/custom, b\.mp4/custom"):
        read_keypoints(path, size_px=SIZE)
    expected[..., :2] += 50
    check(read_keypoints(path, size_px=SIZE, clip="b.mp4"), COCO17, expected)


def test_videopose3d_detections(tmp_path):
    points = walker(COCO17, T)
    rows = np.concatenate([points.transpose(0, 2, 1)[:, :2], np.full((T, 1, 17), 7.0), np.full((T, 1, 17), 0.05)], 1)
    table = np.empty((T, 2), object)
    for i in range(T):
        table[i, 0], table[i, 1] = [], rows[i : i + 1].astype(np.float32) if i != 3 else np.zeros((0, 4, 17), "f4")
    meta = {"w": SIZE[0], "h": SIZE[1]}
    got = read_keypoints(save_npz(tmp_path / "d.npz", boxes=table, segments=table, keypoints=table, metadata=meta))
    assert got.size_px == SIZE
    assert got.invented.all(1).tolist() == [i == 3 for i in range(T)]
    # Detectron's 0.05 is as good as others' 0.3
    np.testing.assert_allclose(got.found_px[0, :, 2], 0.3, atol=1e-6)


def test_reconstructions_of_mhformer(tmp_path):
    path = save_npz(tmp_path / "r.npz", reconstruction=walker(H36M17, T)[None, ..., :2])
    expected = walker(H36M17, T)
    expected[..., 2] = 1.0
    check(read_keypoints(path, size_px=SIZE), H36M17, expected)


def test_what_lift_wrote_is_read_again(tmp_path):
    points = walker(H36M17, T)
    points[2, 5, 2] = 0.0  # it was invented then, and is missing now
    frame = np.arange(T) * 2 + 9
    path = save_npz(tmp_path / "l.npz", poses_m=np.zeros((T, 17, 3)), keypoints_px=points, frame=frame, fps=25.0,
                    size_px=SIZE, person=3)  # fmt: skip
    got = read_keypoints(path)
    assert (got.frames.tolist(), got.fps, got.person, got.invented.sum()) == (frame.tolist(), 25.0, 3, 1)


@pytest.mark.parametrize("layout", [MEDIAPIPE33, COCO_WHOLEBODY, BODY_25, HALPE26, OPENPOSE18, COCO17, H36M17])
def test_npz_of_ones_own_by_the_number_of_joints_and_the_body(tmp_path, layout):
    check(read_keypoints(save_npz(tmp_path / "a.npz", keypoints=walker(layout, T), size_px=SIZE)), layout)


# --- oddities of real files ---


def alphapose(points: np.ndarray, name: str = "{}.jpg") -> list[dict]:
    return [
        {"image_id": name.format(i), "category_id": 1, "keypoints": flat(p), "score": 2.5} for i, p in enumerate(points)
    ]


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(alphapose(walker(COCO17, T))).encode())
    check(read_keypoints(tmp_path / "a.json", size_px=SIZE), COCO17)


def test_an_entry_without_keypoints_is_a_frame_without_the_person(tmp_path):
    entries = alphapose(walker(COCO17, T))
    entries[3]["keypoints"] = []
    got = read_keypoints(save(tmp_path / "a.json", entries), size_px=SIZE)
    assert got.invented.all(1).tolist() == [i == 3 for i in range(T)]
    assert "1 of these without this person, all joints invented" in got.note
    assert not got.canonical_px[3].any()
    np.testing.assert_allclose(got.points_px[..., :2], to_h36m17(torch.from_numpy(walker(COCO17, T)), COCO17)[..., :2],
                               atol=1.5)  # fmt: skip


def test_a_file_of_zero_confidences_has_none(tmp_path):
    points = walker(COCO17, T)
    points[..., 2] = 0.0
    got = read_keypoints(save(tmp_path / "a.json", alphapose(points)), size_px=SIZE)
    points[..., 2] = 1.0
    check(got, COCO17, points)
    assert "a file without confidences" in got.note


def test_fractions_of_the_image_are_scaled(tmp_path):
    points = walker(COCO17, T)
    got = read_keypoints(save(tmp_path / "a.json", alphapose(points / (*SIZE, 1))), size_px=SIZE)
    check(got, COCO17)
    assert "coordinates from 0 to 1 scaled to 1000x800 px" in got.note


@pytest.mark.parametrize("name", ["frame_{}_cam1.jpg", "2024-05-01_cam3_{}.png", "{}_12.jpg", "a{:03}b7.jpg"])
def test_the_digits_that_vary_are_the_frame(tmp_path, name):
    entries = alphapose(walker(COCO17, 12), name)
    got = read_keypoints(save(tmp_path / "a.json", sorted(entries, key=lambda e: e["image_id"])), size_px=SIZE)
    check(got, COCO17, walker(COCO17, 12))
    assert got.frames.tolist() == list(range(12))


def test_frames_and_times_say_when_a_late_person_is_there(tmp_path):
    early, late = walker(COCO17, 40), walker(COCO17, 40, x=700.0)
    entries = [e | {"idx": 1} for e in alphapose(early)] + [e | {"idx": 2} for e in alphapose(late)[10:30]]
    got = read_keypoints(save(tmp_path / "a.json", entries), size_px=SIZE, fps=50.0, person=2)
    check(got, COCO17, late[10:30])
    assert got.frames.tolist() == list(range(10, 30))
    np.testing.assert_allclose(got.times_s, np.arange(10, 30) / 50)


def test_keypoints_are_known_by_content(tmp_path):
    points = walker(COCO17, T)
    odd = save(tmp_path / "keypoints.dat", alphapose(points))
    assert holds_keypoints(odd)
    check(read_keypoints(odd, size_px=SIZE), COCO17)
    save_npz(tmp_path / "a.npz", keypoints=points, size_px=SIZE, layout="coco").rename(tmp_path / "a.bin")
    assert holds_keypoints(tmp_path / "a.bin")
    check(read_keypoints(tmp_path / "a.bin"), COCO17)
    (tmp_path / "v.mp4").write_bytes(b"\0\0\0 ftypisom")
    assert not holds_keypoints(tmp_path / "v.mp4")
    assert not holds_keypoints(tmp_path / "nowhere.mp4")
    (tmp_path / "t.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(BadInput, match=r"t\.h5: HDF5 tables are not read; write the poses as CSV"):
        read_keypoints(tmp_path / "t.h5")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 50_000,
        '[{"image_id": 1e400, "keypoints": [1, 2, 1]}]',
        '[{"image_id": "0.jpg", "keypoints": [1, 2, 1], "idx": 99999999999999999999999999}]',
        '{"meta_info": {"size_px": [Infinity, 8]}, "instance_info": []}',
        '{"meta_info": {"size_px": [1e300, 8]}, "instance_info": [{"frame_id": 0, "instances": []}]}',
        '[{"frame_id": 1.5, "instances": []}]',
        '[{"people": 3}]',
        '[{"people": [{"pose_keypoints_2d": "abc"}]}]',
        '{"keypoints": [{"0": [[1, 2, 3]]}], "skeleton": 3}',
        '{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2, 2]}]}',
        '[[{"keypoints": {"x": [1], "y": [1, 2]}}]]',
        "null",
        '"text"',
        "3",
    ],
)
def test_hostile_json_gets_one_line(tmp_path, content):
    path = tmp_path / "k.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"k\.json: ") as error:
        read_keypoints(path, size_px=SIZE)
    assert "\n" not in str(error.value)
