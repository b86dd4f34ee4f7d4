import numpy as np
import pytest
import torch

from moga_st.data.pose.camera import Camera, project, world_to_camera
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.skeleton import BONES, JOINTS
from moga_st.data.pose.standing import stand
from moga_st.data.pose.world import ANKLE_M, FEET, contacts, find_ground, place
from moga_st.errors import BadInput

FPS, FOCAL = 50.0, 1145.0


def camera(pitch_deg: float, roll_deg: float, height_m: float) -> Camera:
    """Looks along the world's y from above the origin: first turned down about x, then clockwise about its own z."""
    a, b = np.radians([pitch_deg, roll_deg])
    level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    down = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    clockwise = np.array([[np.cos(b), np.sin(b), 0], [-np.sin(b), np.cos(b), 0], [0, 0, 1]])
    two = torch.ones(2, dtype=torch.float64)
    place = torch.tensor([0.0, 0.0, height_m], dtype=torch.float64)
    return Camera(torch.from_numpy(clockwise @ down @ level), place, FOCAL * two, 500 * two, 1000 * two)


def clip(action: str, distance_m: float = 6.0) -> np.ndarray:
    world = generate_clip(1, action, 0, 200).astype(np.float64)
    return world - (*world[0, 0, :2], 0.0) + np.array([0.0, distance_m, 0.0])


def seen(world_m: np.ndarray, by: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Joints in the camera's space, and keypoints with a confidence of 1."""
    points = world_to_camera(torch.from_numpy(world_m), by)
    return points.numpy(), np.concatenate([project(points, by).numpy(), np.ones((*world_m.shape[:2], 1))], -1)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def test_the_path_is_where_the_projection_says():
    """A stiff body that glides at constant velocity: no acceleration to smooth away, so the path must be exact, also
    where half of the joints are wrong but not trusted."""
    body = clip("walk")[0]
    body = body - body[0]
    path = np.array([0.5, -0.2, 5.0]) + np.linspace(0, 1, 80)[:, None] * (1.0, 0.3, 2.0)
    points = body[None] @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) + path[:, None]
    keypoints = np.concatenate([points[..., :2] / points[..., 2:] * FOCAL + (480, 510), np.ones((80, 17, 1))], -1)
    keypoints[::2, 9:] = (-1e4, np.nan, 0.0)
    keypoints[40:45, :, 2] = 0  # a gap is bridged
    found = place(points - points[:, :1], keypoints, FOCAL, (480, 510), FPS)
    np.testing.assert_allclose(found, path, atol=1e-5)


@pytest.mark.parametrize(("pitch", "roll", "height"), [(0, 0, 1.5), (30, 5, 4.0), (-12, -8, 0.6), (90, 0, 8.0)])
def test_a_given_pitch_is_the_inverse_of_the_camera(pitch, roll, height):
    world = clip("wave")
    ground = find_ground([seen(world, camera(pitch, roll, height))[0]], FPS, pitch, roll)
    assert ground.pitch_deg == pytest.approx(pitch, abs=1e-6)
    back = ground.to_world(seen(world, camera(pitch, roll, height))[0])
    # up to the height, which comes from the feet, whose ankles here are not 8 cm high
    np.testing.assert_allclose(back[..., :2], world[..., :2] if pitch == 90 else back[..., :2], atol=1e-6)
    np.testing.assert_allclose(np.diff(back[..., 2], axis=0), np.diff(world[..., 2], axis=0), atol=1e-9)
    if pitch < 90:
        assert ground.roll_deg == pytest.approx(roll, abs=1e-6)
    lowest = np.median(back[:, FEET, 2])
    assert lowest == pytest.approx(ANKLE_M, abs=0.01)


@pytest.mark.parametrize("action", ["walk", "jump", "wave", "turn", "talk"])
@pytest.mark.parametrize(("pitch", "roll", "height"), [(0, 0, 1.5), (30, 5, 4.0)])
def test_people_who_stand_or_walk_tell_the_vertical(action, pitch, roll, height):
    by = camera(pitch, roll, height)
    joints, keypoints = seen(clip(action), by)
    path = place(joints - joints[:, :1], keypoints, FOCAL, (500, 500), FPS)
    ground = find_ground([joints - joints[:, :1] + path[:, None]], FPS)
    assert angle_deg(ground.rotation[2], by.rotation.numpy() @ (0, 0, 1)) < 3
    assert ground.heights_m[0] == pytest.approx(height, abs=0.3)
    world, _ = stand(joints, ground, FPS)
    # an upright body: the head is above the hip
    lean = (world[:, JOINTS.index("Thorax")] - world[:, 0]).mean(0)
    true = clip(action)
    wanted = (true[:, JOINTS.index("Thorax")] - true[:, 0]).mean(0)
    assert angle_deg(lean / np.linalg.norm(lean), wanted / np.linalg.norm(wanted)) < 5


def test_several_people_walk_the_plane_of_the_floor():
    """Where people walk towards all sides, their feet tell the tilt although each body leans 10 degrees."""
    world = [clip("walk", d) for d in (5.0, 8.0)]
    lean = np.radians(10)
    leaning = []
    for person in world:
        turned = person.copy()
        hip_up = person[:, :, 2:] - person[:, 3:4, 2:].clip(max=0)
        turned[..., 0] += np.tan(lean) * hip_up[..., 0] * 0.15
        leaning.append(turned)
    by = camera(25, 0, 3.0)
    ground = find_ground([seen(person, by)[0] for person in leaning], FPS)
    assert angle_deg(ground.rotation[2], by.rotation.numpy() @ (0, 0, 1)) < 3
    assert "places where a foot stands" in ground.note


def test_one_who_sits_is_levelled_by_the_trunk_and_one_who_lies_not_at_all():
    by = camera(30, 0, 3.0)
    ground = find_ground([seen(clip("sit"), by)[0]], FPS)
    assert "trunks" in ground.note
    assert angle_deg(ground.rotation[2], by.rotation.numpy() @ (0, 0, 1)) < 8
    lying = clip("wave")[:1].repeat(60, 0)[..., [2, 1, 0]] * (1, 1, -1)
    ground = find_ground([seen(lying, camera(0, 0, 1.0))[0]], FPS)
    assert "taken for level" in ground.note
    assert abs(ground.pitch_deg) < 1e-6


def foot_steps() -> np.ndarray:
    """(100, 17, 3): the left foot stands in frames 0 to 39, is lifted 20 cm and moved 80 cm on, stands from 60; the
    right one hovers 30 cm above the floor."""
    world = np.zeros((100, 17, 3))
    phase = np.clip((np.arange(100) - 40) / 20, 0, 1)
    left, right = FEET
    world[:, left, 0] = 0.8 * phase
    world[:, left, 2] = ANKLE_M + 0.2 * np.sin(np.pi * phase)
    world[:, right, 2] = 0.3
    return world


def test_contacts_are_the_frames_in_which_a_foot_stands():
    touching = contacts(foot_steps(), FPS)
    assert touching[:38, 0].all()
    assert touching[63:, 0].all()
    assert not touching[43:58, 0].any()
    assert not touching[:, 1].any()
    doubled = contacts(np.repeat(foot_steps(), 2, axis=0), 2 * FPS)  # the same motion at twice the rate
    assert np.mean(doubled[::2] != touching) < 0.03


@pytest.mark.parametrize("action", ["walk", "turn", "kick", "squat"])
def test_standing_feet_are_still_on_the_floor_and_bones_keep_their_lengths(action):
    """The path drifts by up to 15 cm along the line of sight, 2 cm across it, and the poses tremble slowly."""
    rng = np.random.default_rng(3)
    by = camera(20, 0, 2.5)
    joints = seen(clip(action), by)[0]
    s = np.arange(200) / FPS
    drift = np.stack([0.02 * np.sin(2.1 * s), 0.02 * np.cos(1.7 * s), 0.15 * np.sin(2.6 * s)], -1)
    drifting = joints + drift[:, None]
    wobble = np.stack([np.sin(2 * np.pi * (0.7 * s + rng.uniform())) for _ in range(3)], -1) * 0.01
    drifting[:, FEET[0]] += wobble
    ground = find_ground([drifting], FPS, 20.0)
    world, touching = stand(drifting, ground, FPS)
    assert touching.mean() > 0.2
    for k, foot in enumerate(FEET):
        both = touching[1:, k] & touching[:-1, k]
        steps = np.linalg.norm(np.diff(world[:, foot], axis=0), axis=-1)[both]
        assert np.percentile(steps, 95) < 1e-3
        np.testing.assert_allclose(np.median(world[touching[:, k], foot, 2]), ANKLE_M, atol=1e-3)
    for a, b in BONES:
        np.testing.assert_allclose(
            np.linalg.norm(world[:, a] - world[:, b], axis=-1),
            np.linalg.norm(drifting[:, a] - drifting[:, b], axis=-1),
            atol=1e-6,
        )
    # nearer to the truth than it was
    truth = clip(action)
    error = [
        np.linalg.norm(x[:, 0, :2] - truth[:, 0, :2] - (x[:, 0, :2] - truth[:, 0, :2]).mean(0), axis=-1).mean()
        for x in (ground.to_world(drifting), world)
    ]
    assert error[1] < error[0]


def test_one_who_is_far_away_walks_on_the_floor_whatever_the_error_of_depth():
    """15 m before a camera that looks 25 degrees down, half a metre nearer and further in turn, which is 20 cm of
    height: feet are found to stand, and the way over the ground is nearer to the truth."""
    truth = clip("walk", 15.0)
    joints = seen(truth, camera(25, 0, 7.0))[0]
    sight = joints[:, :1] / np.linalg.norm(joints[:, :1], axis=-1, keepdims=True)
    drifting = joints + sight * (0.5 * np.sin(2.4 * np.arange(200) / FPS))[:, None, None]
    ground = find_ground([drifting], FPS, 25.0)
    raw = ground.to_world(drifting)
    world, touching = stand(drifting, ground, FPS)
    before, after = (x[:, FEET, 2].min(1) - truth[:, FEET, 2].min(1) for x in (raw, world))
    assert before.std() > 0.1
    assert after.std() < before.std() / 3
    assert touching.mean() > 1.5 * contacts(raw, FPS).mean()
    right = [np.mean(x == contacts(truth, FPS)) for x in (contacts(raw, FPS), touching)]
    assert right[1] > right[0] + 0.05
    off = [np.linalg.norm((x - truth)[:, 0, :2] - (x - truth)[:, 0, :2].mean(0), axis=-1).mean() for x in (raw, world)]
    assert off[1] < off[0] / 2


@pytest.mark.parametrize("pitch", [0.0, 25.0])
def test_one_who_jumps_or_climbs_is_not_pulled_to_the_floor(pitch):
    by = camera(pitch, 0, 1.5 + 6 * np.tan(np.radians(pitch)))
    jumping = clip("wave")
    s = np.clip((np.arange(200) - 80) / 25, 0, 1)  # half a second, 31 cm high
    jumping[..., 2] += (9.81 / 2 * 0.25 * s * (1 - s))[:, None]
    climbing = clip("wave")
    climbing[..., 2] += (0.9 * np.clip((np.arange(200) - 100) / 40, 0, 1))[:, None]
    for truth, lost in ((jumping, 0.05), (climbing, 0.2)):
        joints = seen(truth, by)[0]
        world, _ = stand(joints, find_ground([joints], FPS, pitch), FPS)
        high = np.ptp(truth[:, 0, 2])
        assert high - lost < np.ptp(world[:, 0, 2]) < high + 0.03


def test_nothing_is_moved_that_stands_already():
    truth = clip("wave")
    by = camera(0, 0, 1.5)
    joints = seen(truth, by)[0]
    ground = find_ground([joints], FPS, 0.0)
    world, touching = stand(joints, ground, FPS)
    assert touching.all()
    moved = np.linalg.norm(world - ground.to_world(joints), axis=-1)
    assert moved[:, 0].max() < 0.02
    assert moved[:, FEET].max() < 0.05  # their ankles differ by 4 cm in height


def test_what_cannot_be_is_refused():
    body = clip("wave")
    joints, keypoints = seen(body, camera(0, 0, 1.5))
    with pytest.raises(BadInput, match="finite joints"):
        find_ground([joints * np.nan], FPS)
    with pytest.raises(BadInput, match="within 90 degrees"):
        find_ground([joints], FPS, 120.0)
    with pytest.raises(BadInput, match="confidence above 0"):
        place(joints, keypoints * (1, 1, 0), FOCAL, (500, 500), FPS)
    with pytest.raises(BadInput, match="focal length"):
        place(joints, keypoints, 0.0, (500, 500), FPS)
    with pytest.raises(BadInput, match="needs poses"):
        place(joints[:, :3], keypoints, FOCAL, (500, 500), FPS)
