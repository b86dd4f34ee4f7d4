"""One person's pose in camera space, from any camera and any detector: training data, loss and evaluation.

Evaluation has the noisy protocol of :mod:`moga_st.tasks.pose` on the clips held out, so that figures compare, and on
the test set the checks of :mod:`moga_st.data.pose.checks`.  It scores the lifters of that task, too, as `lift` uses
them.

Shape legend: ``b`` windows, ``t`` frames, 22 canonical keypoints, 17 joints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from moga_st import dist
from moga_st.data.pose import checks
from moga_st.data.pose.bodies import to_motion
from moga_st.data.pose.checks import Shot
from moga_st.data.pose.detector_noise import DetectorNoise
from moga_st.data.pose.person_windows import PersonWindows, Variety, person_windows
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.skeleton import CANONICAL, JOINTS
from moga_st.data.pose.sources import NOTHING_TO_TRAIN_ON, CMUConfig, PoseDataConfig
from moga_st.draw.pose import LiftedClip
from moga_st.errors import BadInput
from moga_st.infer.lift import lift_shot, upright
from moga_st.metrics import pose as metrics
from moga_st.models.person import CHANNELS
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from moga_st.tasks.task import Example, Setting, Split, TaskConfig, at_least_1, number_of, spread

PROTOCOL = "the protocol's noisy 2D"
CONVENTIONS = {
    "mpjpe": "protocol #1, mm, root-relative",
    "p_mpjpe": "protocol #2, after Procrustes alignment with scale, mm",
    "mpjve": "velocity error, mm a frame",
    "root": "distance of the root from where it is, per cent of its distance from the camera",
}


@dataclass(frozen=True)
class PersonConfig(TaskConfig, kind="person"):
    """Lift windows of ``frames`` keypoints, as any detector names them, to poses in camera space."""

    data: PoseDataConfig = field(default_factory=CMUConfig)
    """Where the motion comes from."""
    variety: Variety = field(default_factory=Variety)
    """How training windows differ from it."""
    frames: int = 27
    """Frames the model sees at once."""
    last: int | None = None
    """Train and score a lifter for live use, which gives the poses of so many of the last of them; left out, of all."""
    velocity_weight: float = 0.5
    """Weight of the velocity's error beside the pose's."""
    root_weight: float = 0.3
    """Weight of the root's error, relative to its distance, beside the pose's."""
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    """The detector of the evaluation."""
    focal_known: bool = True
    """Tell the evaluated model each camera's focal length; else `lift`'s assumption stands."""
    val_clips: int = 16
    """Validation clips used (spread over all)."""
    test_clips: int | None = None
    """Test clips used (spread over all); left out, all."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 2 == 0:
            raise BadInput(f"task.frames: expected an odd number, which has a centre, got {self.frames}")
        if self.last is not None and not 1 <= self.last < self.frames:
            raise BadInput(f"task.last: expected 1 to {self.frames - 1}, fewer than the frames, got {self.last}")
        at_least_1(self, "val_clips", *([] if self.test_clips is None else ["test_clips"]))

    def build(self, setting: Setting) -> PersonLifting:
        return PersonLifting(self, setting)


class PersonLifting:
    """The task that :class:`PersonConfig` describes."""

    monitor = "mpjpe"

    def __init__(self, config: PersonConfig, setting: Setting):
        self.config, self.setting = config, setting
        sets = config.data.load(setting.data_root)
        if not sets.val:
            raise BadInput(f"{sets.source}: has no clips to validate on; prepare the whole data set")
        self.clips = {"val": _some(sets.val, config.val_clips), "test": _some(sets.test, config.test_clips)}
        # nothing to train on where people are only to be scored
        self.motion = to_motion(sets.train, setting.device) if sets.train else None
        self.given = config.last or config.frames  # frames that the model gives
        inputs, poses = (config.frames, len(CANONICAL), len(CHANNELS)), (self.given, len(JOINTS), 3)
        self.spec = InputSpec(inputs, poses, CHANNELS)
        self.data_fingerprint = sets.fingerprint
        self.facts: dict[str, Any] = {
            "data": sets.source,
            "protocol": {
                "space": "camera, metric",
                "root": "target and prediction relative to the hip",
                "noise": config.noise.to_dict(),
                "focal length": "told" if config.focal_known else "assumed",
                "frames": config.frames,
                "windows": "side by side in the protocol, as in the pose task; as `lift` has them in the other checks"
                if config.last is None
                else "one that ends with each frame, for its last pose",
                "flip_test": True,
                "selected_on": f"subjects {', '.join(sorted({clip.subject for clip in sets.val}))}",
            },
            "conventions": CONVENTIONS,
        }

    def fetch(self, index: int) -> None:
        """All motion lies on the device."""

    def batch(self, index: Tensor, fetched: None = None) -> PersonWindows:  # noqa: ARG002
        """This rank's share of the windows of batch ``index``."""
        size = self.setting.batch_size
        part = dist.local_slice(size)
        numbers = index * size + torch.arange(part.start, part.stop, device=self.setting.device)
        if self.motion is None:
            raise BadInput(NOTHING_TO_TRAIN_ON)
        return person_windows(self.motion, self.setting.seed, numbers, self.config.frames, self.config.variety)

    def loss(self, net: nn.Module, batch: PersonWindows, step: Tensor) -> Tensor:  # noqa: ARG002
        """MPJPE, the velocity's error in metres a frame, and the root's error over its distance, weighted; windows that
        show fewer than five keypoints a frame teach nothing and are left out."""
        pred, target = net(batch.keypoints).float(), batch.poses_m[:, -self.given :]
        if pred.shape != target.shape:
            raise BadInput(f"the model gives poses {tuple(pred.shape)}, the task has {tuple(target.shape)}")
        weight = ((batch.keypoints[..., 2] > 0).sum(2).float().mean(1) >= 5).float()
        pose, truth = (x - x[:, :, :1] for x in (pred, target))
        error = (pose - truth).norm(dim=-1).mean((1, 2))
        if self.config.velocity_weight and pred.shape[1] > 1:
            moved = (pose.diff(dim=1) - truth.diff(dim=1)).norm(dim=-1)
            error = error + self.config.velocity_weight * moved.mean((1, 2))
        root, there = pred[:, :, 0], target[:, :, 0]
        away = (root - there).norm(dim=-1) / there[..., 2].clamp(min=0.5)
        error = error + self.config.root_weight * away.mean(1)
        return (weight * error).sum() / weight.sum().clamp(min=1)

    def shots(self, split: Split) -> dict[str, list[Shot]]:
        """What is scored, by check."""
        clips, noise = self.clips[split], self.config.noise
        shots = {PROTOCOL: checks.protocol(clips, noise)}
        if split == "test":
            shots["generated bodies, other cameras"] = checks.other_cameras(noise)
            shots["cut by the image"] = checks.truncated(clips, noise)
            shots["COCO-17, a face for a head"] = checks.faces(clips, noise)
        return shots

    @torch.no_grad()
    def evaluate(self, net: nn.Module, split: Split = "val") -> Scores:
        """Means over all frames of the protocol, and by check; beside them those of the mean training pose.  The
        protocol's windows lie side by side, so that its figure is comparable with those of the pose task; the checks
        beside it score what `lift` gives."""
        was_training = net.training
        net.eval()
        model: dict[str, dict[str, float]] = defaultdict(dict)
        mean: dict[str, dict[str, float]] = defaultdict(dict)
        pose = self._mean_pose()
        for check, shots in self.shots(split).items():
            lifted = [(self._lift(net, shot, check), torch.from_numpy(shot.poses_m)) for shot in shots]
            guessed = [] if pose is None else [(pose.expand_as(truth), truth) for _, truth in lifted]
            for rows, pairs in ((model, lifted), (mean, guessed)):
                for metric, value in measure(pairs).items():
                    rows[metric][check] = value
        net.train(was_training)
        score, baseline = (
            Score({metric: values[PROTOCOL] for metric, values in rows.items()}, {"check": rows})
            for rows in (model, mean)
        )
        return Scores(score, {} if pose is None else {"mean pose": baseline})

    def _mean_pose(self) -> Tensor | None:
        """Of training windows (17, 3), about the hip."""
        if self.motion is None:
            return None
        windows = person_windows(self.motion, 0, torch.arange(512, device=self.motion.first.device), 1, Variety())
        return (windows.poses_m - windows.poses_m[:, :, :1]).mean((0, 1)).cpu()

    @torch.no_grad()
    def examples(self, net: nn.Module, split: Split = "test", keys: Sequence[str] = ()) -> list[Example]:
        """The best, median and worst of each check's first 16 shots by MPJPE; or else the shots whose check and number,
        "0/12", ``keys`` are: up to 3 seconds each."""
        net.eval()
        found: list[Example] = []
        for i, (check, shots) in enumerate(self.shots(split).items()):
            numbers = list(range(0, len(shots), max(1, len(shots) // 16)))[:16]
            if keys:
                mine = [key.partition("/")[2] for key in keys if key.partition("/")[0] == str(i)]
                numbers = [number_of(key, len(shots)) for key in mine]
            if not numbers:
                continue
            some = [(shots[n], self._lift(net, shots[n], check).numpy()) for n in numbers]
            errors = [measure([(torch.from_numpy(p), torch.from_numpy(s.poses_m))])["mpjpe"] for s, p in some]
            order = sorted(range(len(some)), key=errors.__getitem__)
            picked = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
            for label, k in ({f"shot {n}": k for k, n in enumerate(numbers)} if keys else picked).items():
                shot, poses = some[k]
                part = slice(0, round(3 * shot.fps))
                title = f"{check}: {label}{'' if keys else f' of {len(some)}'}, {shot.name}, MPJPE {errors[k]:.1f} mm"
                shown, truth = (upright(p[part] - p[part, :1]) for p in (poses, shot.poses_m))
                clip = (shot.seen17()[part], shot.size_px, shot.fps, shown, truth)
                found.append(LiftedClip(f"{i}_{label}", title, *clip, key=f"{i}/{numbers[k]}"))
        return found

    def _lift(self, net: nn.Module, shot: Shot, check: str) -> Tensor:
        focal_px = shot.focal_px if self.config.focal_known else None
        return torch.from_numpy(lift_shot(net, shot, self.setting.device, focal_px, overlap=check != PROTOCOL))


def _some(clips: list[MotionClip], count: int | None) -> list[MotionClip]:
    """So many of the clips, spread over all."""
    if count is None or count >= len(clips):
        return clips
    return [clips[i] for i in spread(len(clips), count)]


def measure(pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Means over all frames of (predicted, true) poses in camera space, metres; "root" where the model gives one."""
    values: dict[str, list[Tensor]] = defaultdict(list)
    for pred, truth in pairs:
        x, y = ((pose - pose[:, :1]) * 1000 for pose in (pred, truth))
        values["mpjpe"].append(metrics.mpjpe(x, y).flatten())
        values["p_mpjpe"].append(metrics.p_mpjpe(x, y).flatten())
        values["mpjve"].append(metrics.mpjve(x, y).flatten())
        if pred[:, 0].any():  # a lifter of root-relative poses leaves the root at the camera
            values["root"].append(100 * (pred[:, 0] - truth[:, 0]).norm(dim=-1) / truth[:, 0, 2])
    return {name: torch.cat(parts).mean().item() for name, parts in values.items() if sum(map(len, parts))}
