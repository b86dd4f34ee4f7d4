"""Face points of a body, by geometry."""

import pytest
import torch

from moga_st.data.pose.face import canonical_points, face_to_camera, torso_axes
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.skeleton import CANONICAL, H36M17, JOINTS, flip, to_canonical

AT = {name: i for i, name in enumerate(CANONICAL)}


@pytest.fixture(scope="module")
def pose() -> torch.Tensor:
    """A person who stands and faces +y, right side to +x, z up."""
    x = torch.zeros(17, 3)
    height = {"Spine": 0.2, "Thorax": 0.45, "Neck/Nose": 0.6, "Head": 0.75}
    for name, z in height.items():
        x[JOINTS.index(name), 2] = z
    for side, sign in (("R", 1.0), ("L", -1.0)):
        for name, at in {"Hip": (0.1, 0, 0), "Shoulder": (0.2, 0, 0.45), "Knee": (0.1, 0, -0.4)}.items():
            x[JOINTS.index(side + name)] = torch.tensor(at) * torch.tensor([sign, 1, 1])
    return x


def test_axes_of_a_torso_that_stands(pose):
    torch.testing.assert_close(torso_axes(pose), torch.eye(3))


def test_the_face_is_in_front_and_its_sides_are_the_persons(pose):
    points = canonical_points(pose, torch.tensor(0.0), torch.tensor(1.0))
    head = pose[JOINTS.index("Head")]
    assert points[AT["Nose"], 0] == 0
    assert 0.08 < points[AT["Nose"], 1] < 0.15
    assert points[AT["LEar"], 0] < points[AT["LEye"], 0] < 0 < points[AT["REye"], 0] < points[AT["REar"], 0]
    assert (points[:5, 2] < head[2]).all()
    raised = canonical_points(pose, torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.03))
    torch.testing.assert_close(raised[:5] - points[:5], torch.tensor([0, 0, 0.03]).expand(5, 3))
    larger = canonical_points(pose, torch.tensor(0.0), torch.tensor(1.2))
    torch.testing.assert_close(larger[:5] - head, 1.2 * (points[:5] - head))


def test_a_head_that_turns_left_looks_left(pose):
    points = canonical_points(pose, torch.tensor(torch.pi / 2), torch.tensor(1.0))
    assert points[AT["Nose"], 0] < -0.08  # the person's left is -x
    assert points[AT["Nose"], 1].abs() < 1e-6
    assert points[AT["LEar"], 1] < 0 < points[AT["REar"], 1]


def test_the_rest_of_the_body_is_the_joints_themselves():
    world_m = torch.from_numpy(generate_clip(0, "walk", 0, 4))
    points = canonical_points(world_m, torch.zeros(4), torch.ones(4))
    for name, i in AT.items():
        if i >= 5:
            assert torch.equal(points[:, i], world_m[:, JOINTS.index(H36M17.same_as.get(name, name))]), name
    seen = to_canonical(torch.rand(4, 17, 2), H36M17)[..., 2] > 0
    assert not seen[:, :5].any()  # what H36M-17 lacks is what is synthesised
    assert seen[:, 5:].all()


def test_a_mirror_image_looks_the_other_way():
    world_m, yaw = torch.from_numpy(generate_clip(0, "box", 0, 4)), torch.linspace(-1, 1, 4)
    one = torch.ones(4)
    torch.testing.assert_close(canonical_points(flip(world_m), -yaw, one), flip(canonical_points(world_m, yaw, one)))


def test_how_much_a_face_looks_at_the_camera(pose):
    """The camera 4 m in front of the person: x right, y down, z away from it."""
    to_camera = torch.tensor([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])  # a person facing +y faces the camera's -z
    for yaw, expected in ((0.0, 1.0), (torch.pi / 2, 0.0), (torch.pi, -1.0)):
        points = canonical_points(pose, torch.tensor(yaw), torch.tensor(1.0))
        seen = points @ to_camera.mT + torch.tensor([0.0, 0.7, 4.0])
        assert face_to_camera(seen).item() == pytest.approx(expected, abs=0.08)
