from itertools import pairwise

import numpy as np
import pytest
import torch

from moga_st.data.pose.skeleton import (
    BODY_25,
    BONES,
    CANONICAL,
    CANONICAL_MIRROR,
    COCO17,
    COCO_WHOLEBODY,
    H36M17,
    HALPE26,
    JOINTS,
    LAYOUTS,
    LEFT,
    MEDIAPIPE33,
    MIRROR,
    OPENPOSE18,
    PARENTS,
    PARTS,
    POSETRACK17,
    RIGHT,
    Layout,
    bone_lengths,
    flip,
    mirror,
    to_canonical,
    to_h36m17,
)
from moga_st.errors import BadInput

# Where each keypoint of any layout is on a person seen from the front, arms and legs spread: x to the
# image's right, so the person's left is at positive x; y down.
FRONT = {
    "Nose": (0.0, -8.0),
    "Neck": (0.0, -6.0),
    "Head": (0.0, -10.0),
    "Hip": (0.0, 0.0),
    "MidHip": (0.0, 0.0),
    "Eye": (0.3, -8.5),
    "Ear": (0.6, -8.4),
    "Shoulder": (2.0, -6.0),
    "Elbow": (4.0, -5.0),
    "Wrist": (6.0, -4.0),
    "SideHip": (1.0, 0.0),
    "Knee": (1.5, 4.0),
    "Ankle": (2.0, 8.0),
    "BigToe": (2.1, 9.0),
    "SmallToe": (2.4, 9.0),
    "Heel": (2.0, 8.5),
    "EyeInner": (0.2, -8.5),
    "EyeOuter": (0.4, -8.5),
    "Mouth": (0.2, -7.5),
    "Thumb": (6.1, -4.2),
    "Index": (6.3, -4.1),
    "Pinky": (6.2, -3.9),
    "FootIndex": (2.2, 9.0),
    "Foot": (2.0, 8.0),
    "Spine": (0.0, -3.0),
    "Thorax": (0.0, -6.0),
    "Neck/Nose": (0.0, -7.5),
    "HeadBottom": (0.0, -7.0),
}


def place(name: str) -> tuple[float, float]:
    if name in FRONT:
        return FRONT[name]
    side = {"L": 1.0, "R": -1.0}[name[0]]
    x, y = FRONT["SideHip" if name[1:] == "Hip" else name[1:]]
    return side * x, y


def person(layout) -> torch.Tensor:
    return torch.tensor([place(name) for name in layout.joints])


def test_the_skeleton_is_human36ms():
    assert {i: JOINTS[i] for i in (0, 3, 6, 8, 10, 13, 16)} == {
        **{0: "Hip", 3: "RFoot", 6: "LFoot", 8: "Thorax", 10: "Head", 13: "LWrist", 16: "RWrist"}
    }
    chains = [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9, 10], [8, 11, 12, 13], [8, 14, 15, 16]]
    assert set(BONES) == {(a, b) for chain in chains for a, b in pairwise(chain)}
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    assert LEFT == (4, 5, 6, 11, 12, 13)
    assert RIGHT == (1, 2, 3, 14, 15, 16)
    assert sorted(j for part in PARTS.values() for j in part) == list(range(17))


def test_the_mirrored_skeleton_has_the_same_bones():
    assert {(MIRROR[a], MIRROR[b]) for a, b in BONES} == set(BONES)
    for layout in LAYOUTS:
        pairs = mirror(layout.joints)
        assert [pairs[i] for i in pairs] == list(range(len(pairs)))  # its own inverse
        central = {name for name, i in zip(layout.joints, pairs, strict=True) if layout.joints[i] == name}
        assert not any(name[0] in "LR" and name[1].isupper() for name in central), layout.name


@pytest.mark.parametrize(
    ("layout", "count"),
    [
        *[(COCO17, 17), (BODY_25, 25), (HALPE26, 26), (H36M17, 17), (MEDIAPIPE33, 33)],
        *[(OPENPOSE18, 18), (POSETRACK17, 17), (COCO_WHOLEBODY, 23)],
    ],
)
def test_layouts_have_their_published_order(layout, count):
    assert len(set(layout.joints)) == len(layout.joints) == count
    published = {
        "COCO-17": {0: "Nose", 5: "LShoulder", 10: "RWrist", 11: "LHip", 16: "RAnkle"},
        "OpenPose BODY_25": {1: "Neck", 4: "RWrist", 7: "LWrist", 8: "MidHip", 9: "RHip", 14: "LAnkle", 24: "RHeel"},
        "Halpe-26": {9: "LWrist", 16: "RAnkle", 17: "Head", 18: "Neck", 19: "Hip", 20: "LBigToe", 25: "RHeel"},
        "Human3.6M-17": {1: "RHip", 4: "LHip", 11: "LShoulder", 14: "RShoulder"},
        "MediaPipe-33": {0: "Nose", 2: "LEye", 8: "REar", 11: "LShoulder", 16: "RWrist", 24: "RHip", 28: "RAnkle"},
        "OpenPose COCO-18": {1: "Neck", 2: "RShoulder", 7: "LWrist", 8: "RHip", 13: "LAnkle", 14: "REye", 17: "LEar"},
        "PoseTrack-17": {0: "Nose", 1: "HeadBottom", 2: "Head", 3: "LEar", 4: "REar", 16: "RAnkle"},
        "COCO-WholeBody": {10: "RWrist", 16: "RAnkle", 17: "LBigToe", 19: "LHeel", 22: "RHeel"},
    }[layout.name]
    assert {i: layout.joints[i] for i in published} == published


@pytest.mark.parametrize("layout", [n for n in LAYOUTS if n is not H36M17])
def test_conversion_puts_every_joint_of_a_person_in_its_place(layout):
    joints = dict(zip(JOINTS, to_h36m17(person(layout), layout).tolist(), strict=True))
    for name, at in joints.items():
        if name in ("Spine", "Neck/Nose", "Head"):
            continue
        alias = {"RFoot": "RAnkle", "LFoot": "LAnkle", "Thorax": "Neck"}.get(name, name)
        assert at == pytest.approx(place(alias)), name
    assert joints["Spine"] == pytest.approx((0, -3))  # half way from Hip to Thorax
    assert joints["Neck/Nose"] == pytest.approx(FRONT["Nose"])
    assert joints["Head"] == pytest.approx(FRONT["Head"] if layout in (HALPE26, POSETRACK17) else (0, FRONT["Eye"][1]))


def test_coco_conversion_equals_the_fields_rules_joint_by_joint():
    x = np.random.default_rng(0).normal(size=(2, 4, 17, 2))
    y = np.zeros((2, 4, 17, 2))  # by index: hips 11 12, shoulders 5 6, eyes 1 2, nose 0
    y[..., 0, :], y[..., 8, :] = (x[..., 11, :] + x[..., 12, :]) / 2, (x[..., 5, :] + x[..., 6, :]) / 2
    y[..., 7, :] = (y[..., 0, :] + y[..., 8, :]) / 2
    y[..., 9, :], y[..., 10, :] = x[..., 0, :], (x[..., 1, :] + x[..., 2, :]) / 2
    for to, source in {1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10}.items():
        y[..., to, :] = x[..., source, :]
    np.testing.assert_allclose(to_h36m17(torch.from_numpy(x), COCO17).numpy(), y, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_confidence_is_the_least_of_the_sources(layout):
    confidence = torch.rand(5, len(layout.joints), generator=torch.Generator().manual_seed(1))
    keypoints = torch.cat([torch.randn(5, len(layout.joints), 2), confidence[..., None]], dim=-1)
    out = to_h36m17(keypoints, layout)
    for i, joint in enumerate(JOINTS):
        named = [layout.joints.index(s) for s in layout.rule(joint)]
        assert out[:, i, 2].tolist() == [min(row[n].item() for n in named) for row in confidence]
    torch.testing.assert_close(out[..., :2], to_h36m17(keypoints[..., :2], layout))


def test_a_joint_that_a_layout_cannot_give_is_missing():
    arm = Layout("arm", ("LShoulder", "LElbow", "LWrist"), {"Thorax": ("LShoulder", "RShoulder")})
    out = to_h36m17(torch.ones(2, 3, 3), arm)
    for i, joint in enumerate(JOINTS):
        if joint in arm.joints:
            assert (out[:, i] == 1).all()
        else:
            assert out[:, i, :2].isnan().all()
            assert (out[:, i, 2] == 0).all()


def test_human36m_keypoints_pass_unchanged():
    keypoints = torch.randn(3, 17, 3)
    assert torch.equal(to_h36m17(keypoints, H36M17), keypoints)


@pytest.mark.parametrize("layout", [COCO17, BODY_25, HALPE26])
def test_conversion_commutes_with_the_mirror(layout):
    keypoints = torch.randn(4, len(layout.joints), 3, dtype=torch.float64)
    mirrored = keypoints[:, list(mirror(layout.joints))] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(to_h36m17(mirrored, layout), flip(to_h36m17(keypoints, layout)))


CANONICAL_OF = {
    **{"Human3.6M-17": 17, "COCO-17": 17, "OpenPose BODY_25": 19, "Halpe-26": 20, "MediaPipe-33": 17},
    **{"OpenPose COCO-18": 18, "PoseTrack-17": 16, "COCO-WholeBody": 17},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_canonical_keypoints_are_those_of_the_same_place_and_no_others(layout):
    found = to_canonical(person(layout), layout)
    seen = {name: point for name, point in zip(CANONICAL, found.tolist(), strict=True) if point[2]}
    assert len(seen) == CANONICAL_OF[layout.name]
    for name, (x, y, confidence) in seen.items():
        assert (x, y) == pytest.approx(place(name)), name
        assert confidence == 1
    assert all(not any(found[i]) for i, name in enumerate(CANONICAL) if name not in seen)
    limbs = {f"{side}{joint}" for side in "LR" for joint in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")}
    assert limbs <= set(seen)  # every detector finds these
    assert ("Nose" in seen) == (layout is not H36M17)  # Human3.6M's Neck/Nose is not on the face
    assert ("Head" in seen) == (layout in (H36M17, HALPE26, POSETRACK17))


def test_canonical_confidence_goes_along_and_what_is_nowhere_is_unseen():
    keypoints = torch.rand(3, 17, 3) + 0.1
    keypoints[0, 7, 0], keypoints[1, 9, 2], keypoints[2, 3, 2] = torch.nan, 0.0, torch.inf
    found = to_canonical(keypoints, COCO17)
    expected = keypoints.clone()
    expected[0, 7], expected[1, 9], expected[2, 3] = 0, 0, 0
    assert torch.equal(found[:, :17], expected)
    assert not found[:, 17:].any()


def test_flipping_canonical_keypoints_moves_every_point_to_the_other_side():
    x = torch.randn(2, 22, 4)
    mirrored = flip(x)
    assert torch.equal(flip(mirrored), x)
    for i, name in enumerate(CANONICAL):
        other = CANONICAL.index({"L": "R", "R": "L"}.get(name[0], name[0]) + name[1:])
        assert CANONICAL_MIRROR[i] == other
        assert torch.equal(mirrored[:, i], x[:, other] * torch.tensor([-1.0, 1, 1, 1]))
    h36m = torch.randn(5, 17, 3).abs()
    torch.testing.assert_close(flip(to_canonical(h36m, H36M17)), to_canonical(flip(h36m), H36M17))


@pytest.mark.parametrize("shape", [(17, 2), (17, 3), (2, 5, 17, 3)])
def test_flipping_twice_is_the_identity_and_once_is_a_reflection(shape):
    x = torch.randn(shape)
    assert torch.equal(flip(flip(x)), x)
    mirrored = flip(x)
    for i, name in enumerate(JOINTS):
        other = JOINTS.index({"L": "R", "R": "L"}.get(name[0], name[0]) + name[1:])
        assert torch.equal(mirrored[..., i, 0], -x[..., other, 0])
        assert torch.equal(mirrored[..., i, 1:], x[..., other, 1:])  # confidence or depth goes along


def test_a_symmetric_person_is_its_own_mirror_image():
    pose = to_h36m17(person(COCO17), COCO17)
    torch.testing.assert_close(flip(pose), pose)


def test_bone_lengths_by_hand_and_mirrored():
    pose = torch.zeros(17, 3)
    pose[PARENTS.index(8) :] += 1.0  # from the neck on, all is moved by (1, 1, 1)
    lengths = dict(zip(BONES, bone_lengths(pose).tolist(), strict=True))
    assert lengths.pop((8, 9)) == pytest.approx(3**0.5)
    assert lengths.pop((8, 11)) == pytest.approx(3**0.5)
    assert lengths.pop((8, 14)) == pytest.approx(3**0.5)
    assert set(lengths.values()) == {0.0}
    pose = torch.randn(6, 17, 3)
    swap = [BONES.index((MIRROR[a], MIRROR[b])) for a, b in BONES]
    torch.testing.assert_close(bone_lengths(flip(pose)), bone_lengths(pose)[:, swap])


def test_other_layouts_are_refused():
    with pytest.raises(BadInput, match=r"BODY_25: expected 25 joints .* got \(4, 17, 3\)"):
        to_h36m17(torch.zeros(4, 17, 3), BODY_25)
    with pytest.raises(BadInput, match="flip: expected 17 joints"):
        flip(torch.zeros(25, 3))
    with pytest.raises(BadInput, match="2 or 3 channels"):
        flip(torch.zeros(17, 4))
