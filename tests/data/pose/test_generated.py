import numpy as np
import pytest
import torch

from moga_st.data.pose.camera import project, world_to_camera
from moga_st.data.pose.generated import ACTIONS, generate_clip
from moga_st.data.pose.generated_motions import FPS, LIMITS_DEG
from moga_st.data.pose.skeleton import BONES, JOINTS, MIRROR, bone_lengths
from moga_st.data.pose.virtual_cameras import virtual_cameras
from moga_st.errors import BadInput

J = {name: i for i, name in enumerate(JOINTS)}
SUBJECTS = range(4)
FRAMES = 250


@pytest.fixture(scope="module")
def clips() -> dict[tuple[int, str], np.ndarray]:
    return {(s, a): generate_clip(s, a, 0, FRAMES).astype(np.float64) for s in SUBJECTS for a in ACTIONS}


def forward(clip: np.ndarray) -> np.ndarray:
    """Where the hips face, on the ground: up x right, (t, 3) unit."""
    direction = np.cross([0.0, 0.0, 1.0], clip[:, J["RHip"]] - clip[:, J["LHip"]])
    return direction / np.linalg.norm(direction, axis=1, keepdims=True)


def along(v: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return (v * axis).sum(-1)


def test_bones_keep_their_lengths_and_are_as_long_left_as_right(clips):
    for s in SUBJECTS:
        lengths = np.concatenate(
            [bone_lengths(torch.from_numpy(clips[s, a])).numpy() for a in ACTIONS]
        )  # of all actions: it is one body
        assert np.ptp(lengths, axis=0).max() < 1e-5
        swap = [BONES.index((MIRROR[a], MIRROR[b])) for a, b in BONES]
        np.testing.assert_allclose(lengths[0], lengths[0][swap], atol=1e-5)


def test_bodies_are_human_and_differ():
    statures = []
    for s in range(40):
        clip = generate_clip(s, "talk", 0, 10)
        pose, lengths = clip[0], dict(zip(BONES, bone_lengths(torch.from_numpy(clip[0])).tolist(), strict=True))
        stature = pose[J["Head"], 2]
        statures.append(stature)
        assert 1.45 < stature < 2.0
        thigh, shin = lengths[J["LHip"], J["LKnee"]], lengths[J["LKnee"], J["LFoot"]]
        upper, lower = lengths[J["LShoulder"], J["LElbow"]], lengths[J["LElbow"], J["LWrist"]]
        assert 0.35 < thigh < 0.55
        assert 0.95 < thigh / shin < 1.15
        assert 0.22 < upper < 0.38
        assert 1.0 < upper / lower < 1.25
        assert 1.3 < (thigh + shin) / (upper + lower) < 1.75
        assert 0.15 < np.linalg.norm(pose[J["LHip"]] - pose[J["RHip"]]) < 0.25
        assert 0.28 < np.linalg.norm(pose[J["LShoulder"]] - pose[J["RShoulder"]]) < 0.45
    assert np.ptp(statures) > 0.2


def test_feet_stay_on_or_above_the_floor(clips):
    for (_, action), clip in clips.items():
        feet = clip[:, [J["LFoot"], J["RFoot"]], 2].min(1)
        assert clip[..., 2].min() > 0.06, action  # no joint is nearer to the floor than an ankle can be
        ankle = feet.min()
        assert ankle < 0.1, action  # and somewhere it is on the floor
        if action not in ("jump", "run"):
            assert feet.max() < ankle + 0.015, action
    for s in SUBJECTS:
        # a foot that carries alone is as low as any foot gets: at the ankle's height, nothing below it
        lowest = min(clips[s, a][..., 2].min() for a in ACTIONS)
        walk = clips[s, "walk"][:, [J["LFoot"], J["RFoot"]], 2]
        assert walk.min(1)[np.ptp(walk, axis=1) > 0.08].max() < lowest + 0.001
        flight = clips[s, "jump"][:, [J["LFoot"], J["RFoot"]], 2].min(1)
        assert 0.15 < np.ptp(flight) < 0.45


def test_the_foot_on_the_floor_does_not_slide(clips):
    for (s, action), clip in clips.items():
        if action in ("jump", "run"):
            continue
        feet = clip[:, [J["LFoot"], J["RFoot"]]]
        low = feet[..., 2].argmin(1)
        clear = np.abs(feet[:, 0, 2] - feet[:, 1, 2]) > 0.08  # the other one is well up
        still = clear[1:] & clear[:-1] & (low[1:] == low[:-1])
        speed = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) * FPS
        chosen = np.take_along_axis(speed, low[1:, None], 1)[:, 0][still]
        assert chosen.max(initial=0.0) < 0.1, (s, action)
    assert any(
        (np.abs(np.diff(clips[s, "walk"][:, [3, 6], 2], axis=1)) > 0.08).sum() > 20 for s in SUBJECTS
    )  # it was tested


def test_left_is_left_and_knees_bend_backwards_never(clips):
    for (s, action), clip in clips.items():
        ahead, right = forward(clip), clip[:, J["RHip"]] - clip[:, J["LHip"]]
        # a shin turns from its thigh about the axis to the right, clockwise seen from there: heel to the back
        for side in "LR":
            thigh = clip[:, J[side + "Knee"]] - clip[:, J[side + "Hip"]]
            shin = clip[:, J[side + "Foot"]] - clip[:, J[side + "Knee"]]
            sine = along(np.cross(thigh, shin), right)
            assert sine.max() < 1e-6, (s, action)
        # shoulders are on the side of their hips, the face is in front of the neck
        assert along(clip[:, J["RShoulder"]] - clip[:, J["LShoulder"]], right).min() > 0, (s, action)
        chest = np.cross(clip[:, J["Thorax"]] - clip[:, J["Spine"]], clip[:, J["RShoulder"]] - clip[:, J["LShoulder"]])
        middle = (clip[:, J["Thorax"]] + clip[:, J["Head"]]) / 2
        assert along(clip[:, J["Neck/Nose"]] - middle, chest).mean() > 0, (s, action)
        if action in ("walk", "run"):
            speed = np.diff(clip[:, 0], axis=0) * FPS
            assert 0.5 < along(speed, ahead[1:]).mean() < (1.6 if action == "walk" else 3.0), (s, action)
            sideways = along(speed, np.cross(ahead, [0, 0, 1.0])[1:]).mean()
            assert abs(sideways) < 0.3 * along(speed, ahead[1:]).mean(), (s, action)


def test_bodies_sit_squat_wave_and_punch_as_they_say(clips):
    for s in SUBJECTS:
        hip = {a: clips[s, a][:, 0, 2] for a in ACTIONS}
        standing = np.median(hip["talk"])
        assert hip["squat"].min() < 0.75 * standing
        assert hip["sit"].min() < 0.75 * standing
        assert hip["talk"].min() > 0.95 * standing
        assert clips[s, "pick_up"][:, [J["LWrist"], J["RWrist"]], 2].min() < 0.6 * standing
        wrists = clips[s, "wave"][:, [J["LWrist"], J["RWrist"]], 2]
        assert wrists.max() > clips[s, "wave"][:, J["Thorax"], 2].max()
        punch = clips[s, "box"]
        reach = along(punch[:, [J["LWrist"], J["RWrist"]]] - punch[:, [8, 8]], forward(punch)[:, None])
        assert (reach.max(0) > 0.4).all()  # both fists go forward
        turned = np.unwrap(np.arctan2(*forward(clips[s, "turn"])[:, 1::-1].T))
        assert np.ptp(turned) > np.pi / 3


def test_elbows_keep_their_limits(clips):
    for clip in clips.values():
        for side in "LR":
            upper = clip[:, J[side + "Elbow"]] - clip[:, J[side + "Shoulder"]]
            lower = clip[:, J[side + "Wrist"]] - clip[:, J[side + "Elbow"]]
            cosine = along(upper, lower) / np.linalg.norm(upper, axis=1) / np.linalg.norm(lower, axis=1)
            assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < LIMITS_DEG["elbow"][1] + 0.1


def test_motion_is_smooth(clips):
    for (s, action), clip in clips.items():
        velocity = np.diff(clip, axis=0) * FPS
        acceleration = np.diff(velocity, axis=0) * FPS
        fast = action in ("run", "jump", "kick")
        assert np.linalg.norm(velocity, axis=-1).max() < (13 if fast else 8), (s, action)
        assert np.linalg.norm(acceleration, axis=-1).max() < (350 if fast else 150), (s, action)
        assert np.linalg.norm(velocity, axis=-1).max() > 0.1, (s, action)  # it does move


def test_a_clip_is_a_function_of_subject_action_and_take():
    one = generate_clip(1, "walk", 2, 60)
    assert one.dtype == np.float32
    assert one.shape == (60, 17, 3)
    assert np.array_equal(one, generate_clip(1, "walk", 2, 60))
    np.testing.assert_allclose(generate_clip(1, "walk", 2, 90)[:60], one, atol=1e-6)  # more frames go on
    for other in [(2, "walk", 2), (1, "run", 2), (1, "walk", 3)]:
        assert np.abs(generate_clip(*other, 60) - one).max() > 0.1
    headings = [np.arctan2(*forward(generate_clip(0, "talk", take, 1))[0, :2]) for take in range(12)]
    assert np.ptp(headings) > np.pi  # all directions
    # no version may change the motion: records depend on it
    np.testing.assert_allclose(one[50, [0, J["Head"], J["LWrist"]]], FROZEN_M, atol=1e-5)


FROZEN_M = [[-0.919705, -0.24049, 0.969813], [-0.894676, -0.264319, 1.798369], [-0.777609, -0.558333, 0.971888]]


def test_virtual_cameras_see_every_action(clips):
    for action in ACTIONS:
        clip = torch.from_numpy(clips[0, action])
        cameras = virtual_cameras(action, clip)
        image = project(world_to_camera(clip[None], cameras), cameras)
        assert ((image >= 20) & (image <= 980)).all()


def test_wrong_requests_are_refused():
    with pytest.raises(BadInput, match="did you mean 'walk'"):
        generate_clip(0, "wlak", 0, 10)
    with pytest.raises(BadInput, match="frames"):
        generate_clip(0, "walk", 0, 0)
