import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.prepared_poses import MotionClip, View
from moga_st.data.pose.sources import CMUConfig, GeneratedConfig, PoseDataConfig, PoseSets
from moga_st.data.pose.virtual_cameras import VIRTUAL_CAMERAS, virtual_cameras
from moga_st.errors import BadInput
from moga_st.metrics import pose as metrics
from moga_st.tasks.pose import PoseConfig, PoseLifting
from moga_st.tasks.task import Setting

STEP = torch.tensor(0)
SETTING = Setting(torch.device("cpu"), Path(), seed=3, batch_size=32)


def clip(name: str, subject: int, action: str, frames: int, extra: dict[str, np.ndarray] | None = None) -> MotionClip:
    world_m = generate_clip(subject, action, 0, frames)
    cameras = virtual_cameras(name, torch.from_numpy(world_m))
    views = {f"virtual{i}": View(cameras[i], extra=extra or {}) for i in range(VIRTUAL_CAMERAS)}
    return MotionClip(name, f"G{subject}", action, 50.0, world_m, views)


@dataclass(frozen=True)
class SmallConfig(PoseDataConfig):
    """Clips of several lengths, some shorter than a window."""

    def load(self, root: Path) -> PoseSets:
        train = [clip("a", 0, "walk", 40), clip("b", 1, "wave", 5)]
        test = [clip("t/one", 2, "walk", 31), clip("t/two", 3, "walk", 4), clip("t/three", 3, "squat", 20)]
        return PoseSets(train, test[:1], test, f"small, of {root}", "0123")


def training(lifting):
    assert lifting.train is not None
    return lifting.train


def task(**changes) -> PoseLifting:
    return PoseConfig(data=SmallConfig(), frames=9, **changes).build(SETTING)


class Known(nn.Module):
    """Gives the truth of whatever it sees, found by its keypoints: what a perfect lifter would be."""

    def __init__(self, of: PoseLifting, centre_only: bool, offset: float = 0.0):
        super().__init__()
        data = of.splits["test"]
        self.keypoints, self.target = data.keypoints[..., :2], data.target
        self.centre_only, self.offset = centre_only, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.centre_only:
            x = x[:, x.shape[1] // 2][:, None]
        flat = x[..., :2].flatten(0, 1)
        nearest = torch.cdist(flat.flatten(1), self.keypoints.flatten(1)).argmin(1)
        return self.target[nearest].unflatten(0, x.shape[:2]) + self.offset


@pytest.mark.parametrize("centre_only", [True, False])
def test_every_frame_of_every_clip_is_scored_exactly_once(centre_only):
    """A perfect lifter scores 0 only if windows, ends, short clips and scattering are all right."""
    lifting = task(flip_test=False)
    scores = lifting.evaluate(Known(lifting, centre_only), "test")
    assert scores["mpjpe"] == pytest.approx(0.0, abs=1e-3)
    assert scores["mpjve"] == pytest.approx(0.0, abs=1e-3)
    assert scores["pck"] == 1.0
    shifted = lifting.evaluate(Known(lifting, centre_only, offset=0.03), "test")
    assert shifted["mpjpe"] == pytest.approx(30 * 3**0.5, rel=1e-4)
    assert shifted["p_mpjpe"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("averaging", ["frame", "action"])
def test_averages_equal_plain_loops(averaging):
    lifting = task(averaging=averaging, flip_test=False)
    data = lifting.splits["test"]
    torch.manual_seed(0)
    pred = data.target + 0.05 * torch.randn_like(data.target)
    scores = lifting._measure(pred, data)
    error, moves, by_action = [], [], {}
    for action, (a, b) in zip(data.action, data.bounds, strict=True):
        e = (pred[a:b] - data.target[a:b]).double().norm(dim=-1) * 1000
        v = (pred[a:b].diff(dim=0) - data.target[a:b].diff(dim=0)).double().norm(dim=-1) * 1000
        error.append(e)
        moves.append(v)
        by_action.setdefault(action, []).append(e)
    actions = {k: torch.cat(v).mean().item() for k, v in by_action.items()}
    expected = torch.cat(error).mean().item() if averaging == "frame" else np.mean(list(actions.values()))
    assert scores["mpjpe"] == pytest.approx(expected, rel=1e-5)
    for action, value in actions.items():
        assert scores.by["action"]["mpjpe"][action] == pytest.approx(value, rel=1e-5)
    assert scores.by["joint"]["mpjpe"]["LWrist"] == pytest.approx(torch.cat(error)[:, 13].mean().item(), rel=1e-5)
    if averaging == "frame":
        assert scores["mpjve"] == pytest.approx(torch.cat(moves).mean().item(), rel=1e-5)
        aligned = metrics.p_mpjpe(pred * 1000, data.target * 1000).mean().item()
        assert scores["p_mpjpe"] == pytest.approx(aligned, rel=1e-5)


def test_a_pose_that_is_not_a_number_is_not_overlooked():
    lifting = task(flip_test=False)
    data = lifting.splits["test"]
    pred = data.target.clone()
    pred[3] = torch.nan
    assert np.isnan(lifting._measure(pred, data)["mpjpe"])


def test_unevenly_spaced_frames_have_no_velocity():
    @dataclass(frozen=True)
    class Thinned(PoseDataConfig):
        def load(self, root: Path) -> PoseSets:  # noqa: ARG002
            even = clip("a", 0, "walk", 6)
            uneven = dataclasses.replace(clip("b", 1, "wave", 6), frame=np.array([0, 5, 6, 20, 21, 40]))
            return PoseSets([even], [even], [even, uneven], "thinned", "0")

    lifting = PoseConfig(data=Thinned(), frames=1, flip_test=False).build(SETTING)
    data = lifting.splits["test"]
    pred = data.target + torch.randn(data.target.shape, generator=torch.Generator().manual_seed(0))
    a, b = data.bounds[0][0], data.bounds[3][1]  # the four views of the even clip
    v = (pred[a:b].view(4, 6, 17, 3).diff(dim=1) - data.target[a:b].view(4, 6, 17, 3).diff(dim=1)).double()
    scores = lifting._measure(pred, data)
    assert scores["mpjve"] == pytest.approx(v.norm(dim=-1).mean().item() * 1000, rel=1e-5)
    assert "wave" not in scores.by["action"]["mpjve"]


def test_the_mean_pose_is_the_baseline():
    lifting = task(flip_test=False)
    data = lifting.splits["test"]
    error = (training(lifting).target.mean(0) - data.target).norm(dim=-1).mean().item() * 1000
    assert lifting.evaluate(Known(lifting, True), "test").baselines["mean pose"]["mpjpe"] == pytest.approx(
        error, rel=1e-5
    )


def test_batches_are_windows_of_one_clip_with_repeated_ends():
    lifting = task(flip_train=False)
    keypoints, target = lifting.batch(torch.tensor(5))
    data = training(lifting)
    assert keypoints.shape == (32, 9, 17, 2)
    for k, p in zip(keypoints, target, strict=True):
        centre = int((data.keypoints - k[4]).abs().sum((1, 2)).argmin())
        first, last = int(data.first[centre]), int(data.last[centre])
        rows = [min(max(centre + i, first), last) for i in range(-4, 5)]
        torch.testing.assert_close(k, data.keypoints[rows], rtol=0, atol=0)
        torch.testing.assert_close(p, data.target[rows], rtol=0, atol=0)
        assert p[:, 0].abs().max() == 0  # root-relative


def test_batches_are_a_pure_function_of_seed_and_index_and_half_are_mirrored():
    lifting, again = task(), task()
    for a, b in zip(lifting.batch(torch.tensor(7)), again.batch(torch.tensor(7)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    plain = task(flip_train=False)
    mirrored = [
        (x != y).any().item()
        for i in range(20)
        for x, y in zip(lifting.batch(torch.tensor(i))[0], plain.batch(torch.tensor(i))[0], strict=True)
    ]
    assert 0.45 < np.mean(mirrored) < 0.55


def test_flip_at_test_time_averages_with_the_mirror_image():
    """A lifter with a constant sideways bias: in the mirrored half the bias points the other way and cancels."""

    class Biased(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :2])], -1)

    for flip_test, expected in ((True, 0.0), (False, 1.0)):
        lifting = task(flip_test=flip_test)
        pred = lifting.predict(Biased(), lifting.splits["test"])
        torch.testing.assert_close(pred[..., 0], torch.full_like(pred[..., 0], expected))


def test_loss_is_mpjpe_plus_weighted_velocity():
    lifting = task(velocity_weight=2.0)
    keypoints, target = lifting.batch(torch.tensor(0))
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    net = lambda _: target + noise  # noqa: E731 (a network for the loss)
    expected = noise.norm(dim=-1).mean() + 2.0 * noise.diff(dim=1).norm(dim=-1).mean()
    torch.testing.assert_close(lifting.loss(net, (keypoints, target), STEP), expected)  # type: ignore[arg-type]
    centre = lambda _: (target + noise)[:, 4:5]  # noqa: E731
    torch.testing.assert_close(
        lifting.loss(centre, (keypoints, target), STEP),  # type: ignore[arg-type]
        noise[:, 4].norm(dim=-1).mean(),
    )


def test_noisy_keypoints_are_seeded_and_confidence_is_a_channel():
    exact, noisy, again = task(confidence=True), task(keypoints="noisy", confidence=True), task(keypoints="noisy")
    assert (training(exact).keypoints[..., 2] == 1).all()
    difference = (training(noisy).keypoints[..., :2] - training(exact).keypoints[..., :2]).norm(dim=-1)
    assert 0.0005 < difference.median() < 0.02
    assert training(noisy).keypoints[..., 2].min() < 0.9
    torch.testing.assert_close(training(again).keypoints, training(noisy).keypoints[..., :2], rtol=0, atol=0)
    assert noisy.facts["protocol"]["noise"]["jitter"] == 0.01


def test_left_out_clips_are_not_scored():
    lifting = task(left_out=("two",))
    assert len(lifting.splits["test"].first) == 4 * (31 + 20)
    with pytest.raises(BadInput, match="not every one of nothing"):
        task(left_out=("nothing",))


def test_the_motionbert_family_scores_in_the_image_times_its_factor():
    """A pose predicted exactly in the normalised image must be exact in millimetres, wherever its root is put."""
    rng = np.random.default_rng(0)
    frames = 20
    image = np.concatenate([rng.uniform(300, 700, (frames, 17, 2)), rng.uniform(-200, 200, (frames, 17, 1))], -1)
    factor = rng.uniform(3, 5, frames)
    extra = {
        "joint3d_image": image.astype(np.float32),
        "2.5d_factor": factor.astype(np.float32),
        "joints_2.5d_image": (image * factor[:, None, None]).astype(np.float32),
    }

    @dataclass(frozen=True)
    class Pack(PoseDataConfig):
        def load(self, root: Path) -> PoseSets:  # noqa: ARG002
            clips = [clip("p", 0, "walk", frames, extra)]
            return PoseSets(clips, clips, clips, "pack", "0")

    config = PoseConfig(data=Pack(), frames=9, family="motionbert", flip_test=False)
    lifting = config.build(SETTING)
    data = lifting.splits["test"]
    screen = normalise_screen(torch.from_numpy(image[..., :2]).float(), torch.tensor([1000.0, 1000.0]))
    torch.testing.assert_close(data.target[:frames, :, :2], screen - screen[:, :1], rtol=1e-5, atol=1e-5)
    assert lifting._measure(data.target, data)["mpjpe"] == pytest.approx(0.0, abs=0.05)
    moved = data.target.clone()
    moved[:, 0] += 7.0  # wherever the root is put, it is set to zero ...
    assert lifting._measure(moved, data)["mpjpe"] == pytest.approx(0.0, abs=0.05)
    # ... alone: an offset of the other joints, here 5 px along each axis, is an error
    shift = lifting._measure(data.target + 0.01, data)["mpjpe"]
    assert shift == pytest.approx(5 * 3**0.5 * factor.mean() * 16 / 17, rel=1e-3)
    pred = data.target.clone()
    pred[:, 5, 2] += 0.01  # 5 px of depth
    expected = 5 * factor.mean() / 17
    assert lifting._measure(pred, data)["mpjpe"] == pytest.approx(expected, rel=1e-3)
    with pytest.raises(BadInput, match="needs the MotionBERT pack"):
        task(family="motionbert")


def test_generated_people_are_disjoint_and_the_record_says_they_are_generated():
    sets = GeneratedConfig(frames=3).load(Path())
    people = [{c.subject for c in part} for part in (sets.train, sets.val, sets.test)]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert "generated" in sets.source
    assert GeneratedConfig(frames=3).load(Path()).fingerprint == sets.fingerprint


def test_missing_data_say_how_to_make_them(tmp_path):
    with pytest.raises(BadInput, match=r"cmu-mocap\.h5: no such file; make it with `moga-st data prepare cmu-mocap"):
        CMUConfig().load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"frames": 8}, "expected an odd number"), ({"val_clips": 0}, "val_clips: expected at least 1")],
)
def test_wrong_config_is_named(changes, message):
    with pytest.raises(BadInput, match=message):
        PoseConfig(data=SmallConfig(), **changes)


def test_unknown_keypoints_are_named():
    with pytest.raises(BadInput, match="has no 2D keypoints 'cpn'; it has gt"):
        task(keypoints="cpn")
