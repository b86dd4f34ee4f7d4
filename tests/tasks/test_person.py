"""The task of lifting a person, on generated motion: data, loss and evaluation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st import recipes
from moga_st.data.pose import checks
from moga_st.data.pose.generated import generate_clip
from moga_st.data.pose.prepared_poses import MotionClip, View
from moga_st.data.pose.sources import PoseDataConfig, PoseSets
from moga_st.data.pose.virtual_cameras import virtual_cameras
from moga_st.errors import BadInput
from moga_st.infer.person import lift_person
from moga_st.metrics import pose as metrics
from moga_st.models.lifter import LifterConfig
from moga_st.models.person import PersonLifter, PersonLifterConfig
from moga_st.pretrained import start_from
from moga_st.shards import Shards, Spread
from moga_st.tasks.person import PROTOCOL, PersonConfig, PersonLifting, measure
from moga_st.tasks.pose import PoseConfig
from moga_st.tasks.task import Setting

SETTING = Setting(torch.device("cpu"), Path(), seed=3, batch_size=8)
STEP = torch.tensor(0)
CPU = torch.device("cpu")


def clip(name: str, subject: int, action: str, frames: int) -> MotionClip:
    world_m = generate_clip(subject, action, 0, frames)
    cameras = virtual_cameras(name, torch.from_numpy(world_m))
    return MotionClip(name, f"G{subject}", action, 50.0, world_m, {f"virtual{i}": View(cameras[i]) for i in range(2)})


@dataclass(frozen=True)
class SmallConfig(PoseDataConfig):
    """Clips of several lengths, some shorter than a window."""

    def load(self, root: Path) -> PoseSets:
        train = [clip("a", 0, "walk", 40), clip("b", 1, "wave", 5)]
        test = [clip("t/one", 2, "walk", 31), clip("t/two", 3, "talk", 4)]
        return PoseSets(train, test[:1], test, f"small, of {root}", "0123")


@pytest.fixture(scope="module")
def task() -> PersonLifting:
    return PersonConfig(data=SmallConfig(), frames=9).build(SETTING)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(checks, "ACTIONS", ("walk", "sit"))


class Known(PersonLifter):
    """Gives the batch's own poses, moved as told: what a lifter of known errors would be."""

    def __init__(self, poses_m: torch.Tensor):
        super().__init__(PersonLifterConfig(frames=9, width=8, depth=1))
        self.poses_m = poses_m

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return self.poses_m


def test_the_loss_is_the_pose_the_velocity_and_the_root(task):
    batch = task.batch(torch.tensor(0))
    assert task.loss(Known(batch.poses_m), batch, STEP).item() == pytest.approx(0, abs=1e-5)
    there = batch.poses_m[:, :, :1]
    further = batch.poses_m + 0.1 * there  # the root alone, a tenth of its distance too far along its ray
    expected = 0.1 * (there.norm(dim=-1) / there[..., 2])[..., 0]
    seen = (batch.keypoints[..., 2] > 0).sum(2).float().mean(1) >= 5
    loss = task.loss(Known(further), batch, STEP).item()
    assert loss == pytest.approx(0.3 * expected[seen].mean().item(), rel=1e-4)
    wrist = batch.poses_m.clone()
    wrist[:, :, 13, 0] += 0.17 * (torch.arange(9) % 2)  # 10 mm on average over joints in 4 of 9 frames, 8 steps of it
    expected = 0.01 * 4 / 9 + 0.5 * 0.01
    assert task.loss(Known(wrist), batch, STEP).item() == pytest.approx(expected, rel=1e-3)


def test_windows_that_show_nothing_teach_nothing(task):
    batch = task.batch(torch.tensor(0))
    hidden = batch.keypoints.clone()
    hidden[0, ..., 2] = 0
    wrong = batch.poses_m.clone()
    wrong[0] += torch.randn(9, 17, 3)
    assert task.loss(Known(wrong), batch._replace(keypoints=hidden), STEP).item() == pytest.approx(0, abs=1e-5)


def test_batches_are_the_same_again_and_others_differ(task):
    first, again, other = (task.batch(torch.tensor(i)).keypoints for i in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert tuple(first.shape[1:]) == task.spec.shape


def test_a_step_of_training_lowers_the_loss(task):
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=16, depth=1).fit(task.spec).build()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    batch, losses = task.batch(torch.tensor(0)), []
    for _ in range(8):
        loss = task.loss(net, batch, STEP)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_lifters_of_both_kinds_are_scored_on_the_same_checks(task):
    torch.manual_seed(0)
    person = PersonLifterConfig(frames=9, width=8, depth=1).build()
    plain = LifterConfig(frames=9, channels=3, width=8, depth=1).build()
    scores = task.evaluate(person, "test")
    assert list(scores.model.means) == ["mpjpe", "p_mpjpe", "mpjve", "root"]
    assert scores["mpjpe"] == scores.model.by["check"]["mpjpe"][PROTOCOL]
    assert len(scores.model.by["check"]["mpjpe"]) == 4
    others = task.evaluate(plain, "test")
    assert "root" not in others.model.means  # it gives none
    assert scores.baselines["mean pose"]["mpjpe"] == others.baselines["mean pose"]["mpjpe"] > 100
    assert person.training


def test_the_protocol_has_windows_side_by_side_and_the_checks_what_lift_gives(task):
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=8, depth=1).build().eval()
    found = task.evaluate(net, "test").model.by["check"]["mpjpe"]
    for check, shots in task.shots("test").items():
        value = {}
        for overlap in (True, False):
            poses = [lift_person(net, s.keypoints, s.size_px, s.fps, CPU, s.focal_px, overlap) for s in shots]
            pairs = [(torch.from_numpy(p), torch.from_numpy(s.poses_m)) for p, s in zip(poses, shots, strict=True)]
            value[overlap] = measure(pairs)["mpjpe"]
        assert value[True] != pytest.approx(value[False], rel=1e-4)
        assert found[check] == pytest.approx(value[check != PROTOCOL], rel=1e-6)


@pytest.mark.parametrize(
    "config", [PersonLifterConfig(frames=9, width=8, depth=1), LifterConfig(frames=9, channels=3, width=8, depth=1)]
)
def test_shards_score_as_the_network_itself_does(task, config):
    torch.manual_seed(0)
    net = config.build()
    with Shards(2) as group:
        spread = task.evaluate(Spread(net, group), "val").model.means
    assert spread == pytest.approx(task.evaluate(net, "val").model.means, rel=1e-4)


def test_a_lifter_of_17_joints_scores_as_in_the_pose_task(task):
    """The protocol's figure is that of the pose task, but for the predicted hip, which is the root here."""
    torch.manual_seed(0)
    plain = LifterConfig(frames=9, channels=3, width=8, depth=1).build().eval()
    pose = PoseConfig(data=SmallConfig(), frames=9, keypoints="noisy", confidence=True).build(SETTING)
    data = pose.splits["test"]
    pred = pose.predict(plain, data) * 1000
    expected = metrics.mpjpe(pred - pred[:, :1], data.truth_mm).mean().item()
    assert task.evaluate(plain, "test")["mpjpe"] == pytest.approx(expected, rel=1e-4)


def test_measures_are_means_over_frames_in_millimetres():
    truth = [torch.from_numpy(generate_clip(0, "walk", 0, n)) + torch.tensor([0, 0, 4.0]) for n in (3, 10)]
    moved = [x.clone() for x in truth]
    for x in moved:
        x[:, 1:, 1] += 0.017
    far = measure(list(zip(moved, truth, strict=True)))
    assert far["mpjpe"] == pytest.approx(16, abs=0.01)
    assert far["mpjve"] == pytest.approx(0, abs=1e-3)
    assert far["root"] == pytest.approx(0, abs=1e-4)
    behind = measure([(x * 1.1, x) for x in truth])
    depth = torch.cat([x[:, 0] for x in truth])
    assert behind["root"] == pytest.approx(10 * (depth.norm(dim=-1) / depth[:, 2]).mean().item(), rel=1e-4)
    assert behind["p_mpjpe"] == pytest.approx(0, abs=0.01)


def test_examples_are_the_best_and_the_worst(task):
    torch.manual_seed(0)
    examples = task.examples(PersonLifterConfig(frames=9, width=8, depth=1).build(), "val")
    assert [e.name for e in examples] == ["0_best", "0_median", "0_worst"]
    assert "MPJPE" in examples[0].title
    assert all(np.isfinite(e.poses_m).all() and not e.poses_m[:, 0].any() for e in examples)
    assert all(len(e.keypoints_px) == len(e.poses_m) == 31 for e in examples)


def test_a_lifter_for_live_use_is_trained_and_scored_on_what_it_gives(task):
    live = PersonConfig(data=SmallConfig(), frames=9, last=3, test_clips=1).build(SETTING)
    assert live.spec.target == (3, 17, 3)
    batch = live.batch(torch.tensor(0))
    assert torch.equal(batch.keypoints, task.batch(torch.tensor(0)).keypoints)
    assert live.loss(Known(batch.poses_m[:, -3:]), batch, STEP).item() == pytest.approx(0, abs=1e-5)
    with pytest.raises(BadInput, match=r"gives poses \(8, 9, 17, 3\), the task has \(8, 3, 17, 3\)"):
        live.loss(Known(batch.poses_m), batch, STEP)
    torch.manual_seed(0)
    net = PersonLifterConfig(frames=9, width=8, depth=1).fit(live.spec).build()
    assert net.config.last == 3
    shots = live.shots("test")
    assert {shot.name for shot in shots[PROTOCOL]} == {"t/one virtual0", "t/one virtual1"}
    scores = live.evaluate(net, "test")
    shot = shots[PROTOCOL][0]
    lifted = lift_person(net.eval(), shot.keypoints, shot.size_px, shot.fps, torch.device("cpu"), shot.focal_px)
    one = measure([(torch.from_numpy(lifted), torch.from_numpy(shot.poses_m))])["mpjpe"]
    other = shots[PROTOCOL][1]
    lifted = lift_person(net, other.keypoints, other.size_px, other.fps, torch.device("cpu"), other.focal_px)
    two = measure([(torch.from_numpy(lifted), torch.from_numpy(other.poses_m))])["mpjpe"]
    assert scores["mpjpe"] == pytest.approx((one + two) / 2, rel=1e-5)


def test_the_recipe_for_live_use_starts_from_the_weights_of_lifter(tmp_path, monkeypatch):
    config = recipes.load("lifter_causal")
    assert isinstance(config.task, PersonConfig)
    monkeypatch.setattr(type(config.task.data), "load", lambda _, root: SmallConfig().load(root))
    spec = config.task.build(Setting(torch.device("cpu"), tmp_path, batch_size=1)).spec
    net = config.model.fit(spec).build()
    assert isinstance(net, PersonLifter)
    assert net.config.last == 3
    said = start_from(net, "lifter")
    assert "took 332 of 332 tensors" in said


def test_bad_fields_are_refused():
    with pytest.raises(BadInput, match=r"task\.frames: expected an odd number"):
        PersonConfig(frames=8)
    with pytest.raises(BadInput, match=r"task\.val_clips"):
        PersonConfig(val_clips=0)
    with pytest.raises(BadInput, match=r"task\.last: expected 1 to 26"):
        PersonConfig(last=27)
    with pytest.raises(BadInput, match=r"a person lifter takes keypoints \(t, 22, 4\)"):
        PersonLifterConfig().fit(PoseConfig(data=SmallConfig()).build(SETTING).spec)
