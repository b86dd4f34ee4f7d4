import numpy as np
import pytest
import torch

from moga_st.errors import BadInput
from moga_st.metrics.pose import (
    AUC_THRESHOLDS_MM,
    PCK_THRESHOLD_MM,
    auc,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck,
    procrustes,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotations(n: int) -> torch.Tensor:
    q, r = torch.linalg.qr(randn(n, 3, 3, seed=9))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    return q * torch.linalg.det(q)[:, None, None]  # n x n of odd size: the sign is the determinant's


def horn(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Errors (j,) of one pose after the best similarity, by unit quaternions (Horn 1987): another way than
    the SVD, which cannot give a reflection."""
    x, y = pred - pred.mean(0), target - target.mean(0)
    m = x.T @ y
    a = np.array([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]])
    n = np.zeros((4, 4))
    n[0, 0], n[0, 1:], n[1:, 0] = np.trace(m), a, a
    n[1:, 1:] = m + m.T - np.trace(m) * np.eye(3)
    values, vectors = np.linalg.eigh(n)
    w, *v = vectors[:, -1]
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    rotation = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    size = (x * x).sum()
    scale = values[-1] / size if size > 0 else 0.0
    return np.linalg.norm(scale * x @ rotation.T - y, axis=1)


def degenerate_poses() -> dict[str, torch.Tensor]:
    pose = randn(17, 3, seed=3)
    return {
        "full": pose,
        "planar": pose * torch.tensor([1.0, 1.0, 0.0]),
        "collinear": pose[:, :1] * torch.tensor([1.0, -2.0, 0.5]) + torch.tensor([0.1, 0.2, 0.3]),
        "coincident": torch.tensor([0.1, 0.2, 0.3]).double().expand(17, 3),
        "zero": torch.zeros(17, 3, dtype=torch.float64),
    }


def test_equals_the_published_implementations(golden):
    data = golden("pose_metrics")
    pred, target = torch.from_numpy(data["pred"]), torch.from_numpy(data["target"])
    for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve):
        assert abs(metric(pred, target).mean().item() - data[metric.__name__]) < 1e-12, metric.__name__
        single = metric(pred.float(), target.float())
        assert single.dtype == torch.float64
        assert abs(single.mean().item() - data[metric.__name__]) < 1e-6, metric.__name__


def test_values_are_per_joint_and_frame_whatever_the_leading_dimensions():
    pred, target = randn(2, 5, 17, 3, seed=1), randn(2, 5, 17, 3, seed=2)
    for metric in (mpjpe, p_mpjpe, n_mpjpe, lambda p, t: pck(p, t, 2.0), lambda p, t: auc(p, t, 0.02)):
        one_by_one = torch.stack([metric(p, t) for p, t in zip(pred.flatten(0, 1), target.flatten(0, 1), strict=True)])
        torch.testing.assert_close(metric(pred, target), one_by_one.view(2, 5, 17), atol=1e-12, rtol=0)
    error = mpjpe(pred, target)
    expected = np.sqrt(((pred[1, 3, 4] - target[1, 3, 4]).numpy() ** 2).sum())
    assert abs(error[1, 3, 4].item() - expected) < 1e-12


@pytest.mark.parametrize("kind", [lambda p: p, lambda p: p * torch.tensor([-1.0, 1.0, 1.0])])
def test_procrustes_equals_the_quaternion_solution_pose_by_pose(kind):
    target = randn(64, 17, 3, seed=4)
    pred = kind(target + 0.3 * randn(64, 17, 3, seed=5))
    expected = np.stack([horn(p, t) for p, t in zip(pred.numpy(), target.numpy(), strict=True)])
    np.testing.assert_allclose(p_mpjpe(pred, target).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("name", degenerate_poses())
def test_p_mpjpe_is_zero_under_any_similarity(name):
    pose = degenerate_poses()[name]
    n = 50
    scale = 10.0 ** randn(n, 1, 1, seed=6)
    moved = scale * (pose @ rotations(n)) + 3 * randn(n, 1, 3, seed=7)
    assert p_mpjpe(moved, pose.expand(n, 17, 3)).max() < 1e-10
    # the other way round the error is measured in the moved pose's size
    assert (p_mpjpe(pose.expand(n, 17, 3), moved) / (1 + scale[:, 0])).max() < 1e-10


@pytest.mark.parametrize("target", degenerate_poses())
@pytest.mark.parametrize("pred", degenerate_poses())
def test_degenerate_poses_have_the_error_of_the_best_fit(pred, target):
    x, y = degenerate_poses()[pred], degenerate_poses()[target]
    # one point can only go to the mean
    expected = (y - y.mean(0)).norm(dim=-1).numpy() if pred in ("coincident", "zero") else horn(x.numpy(), y.numpy())
    # joint by joint the best fit need not be unique; its sum of squares is
    errors = p_mpjpe(x, y).numpy()
    np.testing.assert_allclose((errors**2).sum(), (expected**2).sum(), atol=1e-9)


def test_coinciding_joints_go_to_the_mean_wherever_they_are():
    target = randn(100, 17, 3, seed=19)
    point = (5 * randn(100, 1, 3, seed=20)).expand(100, 17, 3)  # whose mean over joints is rounded
    torch.testing.assert_close(procrustes(point, target), target.mean(1, keepdim=True).expand_as(target))


def test_a_mirrored_pose_does_not_align_but_a_flat_one_does():
    pose = randn(17, 3, seed=8)
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0])
    assert p_mpjpe(mirrored, pose).mean() > 0.2
    flat = pose * torch.tensor([1.0, 1.0, 0.0])
    assert p_mpjpe(flat * torch.tensor([-1.0, 1.0, 1.0]), flat).max() < 1e-12  # turned over, it is the same


def test_no_similarity_near_the_best_is_better():
    pred, target = randn(17, 3, seed=10), randn(17, 3, seed=11)
    aligned = procrustes(pred, target)
    best = (aligned - target).square().sum()
    generator = torch.Generator().manual_seed(12)
    centre = aligned.mean(0)
    for _ in range(200):
        w, move = 0.05 * torch.randn(2, 3, dtype=torch.float64, generator=generator)
        turn = torch.linalg.matrix_exp(torch.tensor([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]).double())
        grown = 1 + 0.05 * torch.randn((), dtype=torch.float64, generator=generator)
        assert ((grown * (aligned - centre) @ turn + centre + move) - target).square().sum() > best


@pytest.mark.parametrize("size", [1e-100, 1e-6, 1e6, 1e100])
def test_procrustes_is_exact_at_any_size(size):
    pose = randn(17, 3, seed=13)
    assert p_mpjpe(pose * size, pose).max() < 1e-12
    assert (p_mpjpe(pose, pose * size) / size).max() < 1e-12


def test_n_mpjpe_scales_about_the_origin_only():
    pose = randn(4, 17, 3, seed=14)
    assert n_mpjpe(0.2 * pose, pose).max() < 1e-12
    assert n_mpjpe(pose + 1.0, pose).mean() > 0.1
    torch.testing.assert_close(n_mpjpe(torch.zeros_like(pose), pose), pose.norm(dim=-1))


def test_mpjve_sees_motion_only_and_one_clip_at_a_time():
    target = randn(2, 6, 17, 3, seed=15)
    assert mpjve(target + randn(2, 1, 17, 3, seed=16), target).max() < 1e-12  # a constant offset does not move
    drift = torch.arange(6.0).view(6, 1, 1) * torch.tensor([3.0, 0.0, 4.0])
    torch.testing.assert_close(mpjve(target + drift, target), torch.full((2, 5, 17), 5.0).double())
    assert mpjve(target[:, :1], target[:, :1]).shape == (2, 0, 17)  # one frame has no velocity
    with pytest.raises(BadInput, match=r"\(\.\.\., t, j, 3\)"):
        mpjve(target[0, 0], target[0, 0])


def test_pck_and_auc_by_hand():
    target = torch.zeros(4, 3)
    pred = torch.tensor([[0.0, 0, 0], [0, 12, 0], [0, 0, 149.9], [150, 0, 0]])  # mm
    assert pck(pred, target, PCK_THRESHOLD_MM).tolist() == [1, 1, 1, 0]
    assert len(AUC_THRESHOLDS_MM) == 31
    # strictly below: 0 mm misses the threshold 0; 12 mm misses 0, 5, 10; 149.9 mm meets 150 alone
    assert auc(pred, target, mm=1.0).tolist() == [30 / 31, 28 / 31, 1 / 31, 0]
    torch.testing.assert_close(auc(pred.double() / 1000, target, mm=0.001), auc(pred, target, mm=1.0))


def test_a_broken_pose_gives_nan_and_leaves_the_others_alone():
    pred, target = randn(3, 17, 3, seed=17), randn(3, 17, 3, seed=18)
    bad = pred.clone()
    bad[1, 4, 0] = torch.nan
    for metric in (mpjpe, p_mpjpe, n_mpjpe, lambda p, t: pck(p, t, 1.0), lambda p, t: auc(p, t, 0.01)):
        errors = metric(bad, target)
        assert errors[1].isnan().any()
        torch.testing.assert_close(errors[::2], metric(pred, target)[::2])


def test_wrong_shapes_are_refused():
    with pytest.raises(BadInput, match=r"\(2, 17, 3\) and \(2, 16, 3\)"):
        mpjpe(torch.zeros(2, 17, 3), torch.zeros(2, 16, 3))
    with pytest.raises(BadInput, match="one shape"):
        p_mpjpe(torch.zeros(2, 17, 2), torch.zeros(2, 17, 2))
