"""The checks of lifters: what they show is what they say, and is the same everywhere."""

import numpy as np
import pytest
import torch

from moga_st.data.pose import checks
from moga_st.data.pose.checks import Shot
from moga_st.data.pose.detector_noise import DetectorNoise, detect
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.prepared_poses import MotionClip, View
from moga_st.data.pose.skeleton import CANONICAL, COCO17, H36M17, JOINTS
from moga_st.data.pose.virtual_cameras import virtual_cameras

EXACT = DetectorNoise(jitter=0.0, outliers=0.0, swaps=0.0)


@pytest.fixture(scope="module")
def clips() -> list[MotionClip]:
    found = []
    for subject, action in ((0, "walk"), (1, "talk")):
        world_m = generate_clip(subject, action, 0, 90)
        cameras = virtual_cameras(f"t/{action}", torch.from_numpy(world_m))
        views = {f"virtual{i}": View(cameras[i]) for i in range(4)}
        found.append(MotionClip(f"t/{action}", f"G{subject}", action, 50.0, world_m, views))
    return found


def seen(shot: Shot) -> dict[str, np.ndarray]:
    """Which of the keypoints, by name, (t,)."""
    return {name: shot.keypoints[:, i, 2] > 0 for i, name in enumerate(CANONICAL)}


def off_px(shot: Shot) -> np.ndarray:
    """Distance of the joints that are seen from where the poses project, (any,)."""
    image = shot.poses_m[..., :2] / shot.poses_m[..., 2:] * shot.focal_px + np.array(shot.size_px) / 2
    points = shot.keypoints[:, [CANONICAL.index(H36M17.same_as.get(n, n)) for n in CANONICAL if n in JOINTS]]
    joints = image[:, [JOINTS.index(n) for n in CANONICAL if n in JOINTS]]
    return np.linalg.norm(points[..., :2] - joints, axis=-1)[points[..., 2] > 0]


def test_the_protocol_is_the_pose_tasks_noisy_input(clips):
    shots = checks.protocol(clips, DetectorNoise())
    assert len(shots) == 8
    clip, view = clips[1], "virtual2"
    expected = detect(torch.from_numpy(clip.keypoints(view, "gt")), clip.name, 2, 0, DetectorNoise()).numpy()
    np.testing.assert_allclose(shots[6].seen17(), expected, atol=1e-6)
    np.testing.assert_array_equal(shots[6].poses_m, clip.camera_m(view))


def test_exact_keypoints_are_the_poses_projected(clips):
    for make in (checks.protocol, checks.truncated, checks.faces):
        for shot in make(clips, EXACT):
            assert off_px(shot).max() < 25  # the protocol's principal points lie up to 15 px off the middle


def test_other_cameras_are_unlike_the_protocols(monkeypatch):
    monkeypatch.setattr(checks, "ACTIONS", ("walk", "sit", "wave"))
    shots = checks.other_cameras(EXACT)
    assert len(shots) == 12
    again = checks.other_cameras(EXACT)
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(shots, again, strict=True))
    assert max(off_px(shot).max() for shot in shots) < 1.5  # images have whole pixels
    assert len({shot.size_px for shot in shots}) >= 3
    distance = [shot.poses_m[:, 0, 2].mean() for shot in shots]
    assert min(distance) < 3.5
    assert max(distance) > 5
    focal = [shot.focal_px / max(shot.size_px) for shot in shots]
    assert max(focal) / min(focal) > 1.5
    assert all((shot.keypoints[..., 2] > 0).sum(-1).min() == 17 for shot in shots)


def test_cut_images_lack_the_legs_or_the_head(clips):
    shots = checks.truncated([clips[1]] * 1, DetectorNoise()) + checks.truncated([clips[0]], DetectorNoise())
    for shot in shots:
        there = seen(shot)
        legs, head = there["LAnkle"].mean(), there["Head"].mean()
        assert min(legs, head) < 0.1
        assert 0.2 < np.mean([v.mean() for v in there.values()]) < 0.7
        assert not shot.keypoints[shot.keypoints[..., 2] == 0].any()


def test_faces_are_cocos_keypoints_and_nothing_else(clips):
    for shot in checks.faces(clips, DetectorNoise()):
        assert shot.layout is COCO17
        assert [name for name, v in seen(shot).items() if v.any()] == list(COCO17.joints)
        points = dict(zip(CANONICAL, shot.keypoints.transpose(1, 0, 2), strict=True))
        head = shot.seen17()[:, JOINTS.index("Head")]
        np.testing.assert_allclose(head[:, :2], (points["LEye"] + points["REye"])[:, :2] / 2, rtol=1e-6)
        shoulders = (points["LShoulder"] + points["RShoulder"])[:, 1] / 2
        assert (points["Nose"][:, 1] < shoulders).mean() > 0.9  # y goes down
