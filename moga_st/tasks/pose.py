"""3D pose lifting: keypoints of a video in, poses in camera space out; data, losses and evaluation by protocol.

Two protocol families measure different things and are not comparable (``family``):

- **videopose3d**: metric poses in camera space, root-relative targets, the predicted root not set to zero.
- **motionbert**: poses in the image (x, y in pixels, z to scale) normalised by the image's width; multiplied by
  the ground truth's 2.5d factor they become millimetres; the predicted root is set to zero.

All that defines the protocol is a field of :class:`PoseConfig` and lands in every record.

Shape legend: ``n`` frames of all sequences one after the other (a sequence is one camera's view of a clip),
``b`` windows, ``t`` frames of a window, ``j`` joints (17).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from moga_st import dist
from moga_st.analyse.interactions import Game, pose_game
from moga_st.data.draws import uniform
from moga_st.data.pose.camera import normalise_screen
from moga_st.data.pose.detector_noise import DetectorNoise, detect
from moga_st.data.pose.prepared_poses import MotionClip
from moga_st.data.pose.sequences import Seen, Sequences, sequences
from moga_st.data.pose.skeleton import JOINTS, flip
from moga_st.data.pose.smoothing import OneEuro
from moga_st.data.pose.sources import NOTHING_TO_TRAIN_ON, CMUConfig, PoseDataConfig
from moga_st.draw.pose import LiftedClip
from moga_st.errors import BadInput, nearest
from moga_st.infer.lift import upright
from moga_st.infer.windows import lift_overlapping, lift_windows
from moga_st.metrics import pose as metrics
from moga_st.scores import Score, Scores
from moga_st.spec import InputSpec
from moga_st.tasks.task import Example, Setting, Split, TaskConfig, at_least_1, number_of, own_loss, spread

METRICS_MM = ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve")
CHUNK = 20_000  # frames measured at once: bounds the memory of the metrics
CONVENTIONS = {
    "mpjpe": "protocol #1, mm",
    "p_mpjpe": "protocol #2, after Procrustes alignment with scale, mm",
    "n_mpjpe": "protocol #3, after scaling, mm",
    "mpjve": "velocity error, mm a frame",
    "pck": "share of joints within 150 mm",
    "auc": "mean of pck over thresholds 0, 5, ..., 150 mm (MPI-INF-3DHP)",
}


@dataclass(frozen=True)
class PoseConfig(TaskConfig, kind="pose"):
    """Lift windows of ``frames`` keypoints to poses. Every field but the last four names the protocol."""

    data: PoseDataConfig = field(default_factory=CMUConfig)
    """Where the clips come from."""
    family: Literal["videopose3d", "motionbert"] = "videopose3d"
    """Space, root and unit of the error; see the module's docstring."""
    keypoints: str = "gt"
    """2D source: gt (exact projections), noisy (gt through `noise`), or a detector's name in the prepared file."""
    noise: DetectorNoise = field(default_factory=DetectorNoise)
    """What `noisy` means."""
    confidence: bool = False
    """Give the detector's confidence as a third channel (1 where the source has none)."""
    frames: int = 27
    """Frames the model sees at once."""
    flip_test: bool = True
    """Average the prediction with that of the mirrored input."""
    left_out: tuple[str, ...] = ()
    """Test clips left out, by the end of their names."""
    averaging: Literal["frame", "action"] = "frame"
    """frame: mean over all frames; action: unweighted mean of the actions' means over frames."""
    flip_train: bool = True
    """Mirror every second training window at random."""
    velocity_weight: float = 0.5
    """Weight of the velocity loss beside MPJPE (models that give all frames)."""
    val_clips: int = 16
    """Validation clips used (spread over all)."""
    eval_batch: int = 64
    """Windows a batch in evaluation: memory, not results."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 2 == 0:
            raise BadInput(f"task.frames: expected an odd number, which has a centre, got {self.frames}")
        at_least_1(self, "val_clips", "eval_batch")

    def build(self, setting: Setting) -> PoseLifting:
        return PoseLifting(self, setting)


class PoseLifting:
    """The task that :class:`PoseConfig` describes."""

    monitor = "mpjpe"

    def __init__(self, config: PoseConfig, setting: Setting):
        if setting.seed < 0:
            raise BadInput(f"seed: expected 0 or more, got {setting.seed}")
        self.config, self.setting = config, setting
        sets = config.data.load(setting.data_root)
        test = [clip for clip in sets.test if not clip.name.endswith(config.left_out)] if config.left_out else sets.test
        if config.left_out and len(sets.test) - len(test) < len(config.left_out):
            raise BadInput(f"task.left_out: not every one of {', '.join(config.left_out)} ends a test clip's name")
        if not sets.val:
            raise BadInput(f"{sets.source}: has no clips to validate on; prepare the whole data set")
        chosen = spread(len(sets.val), config.val_clips)
        self.train = self._sequences(sets.train) if sets.train else None  # where people are only to be scored
        self.splits: dict[str, Sequences] = {
            "val": self._sequences([sets.val[i] for i in chosen]),
            "test": self._sequences(test),
        }
        channels = ("x", "y", "confidence") if config.confidence else ("x", "y")
        self.spec = InputSpec((config.frames, len(JOINTS), len(channels)), (config.frames, len(JOINTS), 3), channels)
        self.data_fingerprint = sets.fingerprint
        self.facts: dict[str, Any] = {
            "data": sets.source,
            "protocol": {
                "family": config.family,
                "space": "camera, metric" if config.family == "videopose3d" else "image, times the true 2.5d factor",
                "root": "target relative to the hip; predicted root "
                + ("as predicted" if config.family == "videopose3d" else "set to zero"),
                "keypoints": config.keypoints,
                "noise": config.noise.to_dict() if config.keypoints == "noisy" else None,
                "confidence": config.confidence,
                "selected_on": f"subjects {', '.join(sorted({clip.subject for clip in sets.val}))}",
                "frames": config.frames,
                "flip_test": config.flip_test,
                "left_out": list(config.left_out),
                "averaging": config.averaging,
                "test_frames": len(self.splits["test"].first),
            },
            "conventions": CONVENTIONS,
        }

    def fetch(self, index: int) -> None:
        """All clips lie on the device."""

    def batch(self, index: Tensor, fetched: None = None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Keypoints (b, t, 17, c) and targets (b, t, 17, 3), this rank's share.

        A window's centre is uniform over all training frames; beyond the clip's ends its end frames repeat.
        """
        size = self.setting.batch_size
        part = dist.local_slice(size)
        numbers = index * size + torch.arange(part.start, part.stop, device=self.setting.device)
        draws = uniform(self.setting.seed, numbers, 2)
        if self.train is None:
            raise BadInput(NOTHING_TO_TRAIN_ON)
        centre = (draws[:, 0] * len(self.train.first)).long()
        rows = self.train.rows(centre, centre, self.config.frames)
        keypoints, target = self.train.keypoints[rows], self.train.target[rows]
        if self.config.flip_train:
            mirrored = (draws[:, 1] < 0.5)[:, None, None, None]
            keypoints = torch.where(mirrored, flip(keypoints), keypoints)
            target = torch.where(mirrored, flip(target), target)
        return keypoints, target

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor], step: Tensor) -> Tensor:
        """The network's own loss, or MPJPE, and the velocity's error for models that give all frames; model unit."""
        keypoints, target = batch
        own = own_loss(net, keypoints, target, step)
        if own is not None:
            return own
        pred = net(keypoints).float()
        if pred.shape[1] == 1:
            target = _centre(target)
        if pred.shape != target.shape:
            raise BadInput(f"the model gives poses {tuple(pred.shape)}, the task has {tuple(target.shape)}")
        loss = (pred - target).norm(dim=-1).mean()
        if self.config.velocity_weight and pred.shape[1] > 1:
            loss = loss + self.config.velocity_weight * (pred.diff(dim=1) - target.diff(dim=1)).norm(dim=-1).mean()
        return loss

    @torch.no_grad()
    def evaluate(self, net: nn.Module, split: Split = "val") -> Scores:
        """Metrics of ``net``, averaged as the protocol says, with means over frames by action and by joint; beside it
        of always predicting the mean training pose and, on the test set, of what `lift` makes of the same keypoints:
        smoothed, in windows that overlap and are blended."""
        data = self.splits[split]
        rows = {}
        if split == "test" and self.config.family == "videopose3d":
            rows["model, as lift gives it"] = self._measure(self._as_lift_gives_it(net, data), data)
        if self.train is not None:
            mean = self.train.target.mean(0).expand_as(data.target)
            rows["mean pose"] = Score(self._measure(mean, data).means)
        return Scores(self._measure(self.predict(net, data), data), rows)

    @torch.no_grad()
    def predict(self, net: nn.Module, data: Sequences, bounds: list[tuple[int, int]] | None = None) -> Tensor:
        """Poses (n, 17, 3) in the model's unit, of every frame of the sequences ``bounds`` (left out: of all).

        A model that gives the centre frame sees a window around every frame; one that gives all frames sees
        windows side by side, the last one reaching over the end.
        """
        was_training = net.training
        net.eval()
        t, out = self.config.frames, torch.zeros_like(data.target)
        probe = torch.zeros(1, dtype=torch.int64, device=out.device)
        centre_only = net(data.keypoints[data.rows(probe, probe, t)]).shape[1] == 1
        wanted = bounds or data.bounds
        if centre_only:
            centres = torch.cat([torch.arange(first, stop) for first, stop in wanted]).to(out.device)
        else:
            centres = torch.cat([torch.arange(first, stop, t) + t // 2 for first, stop in wanted]).to(out.device)
        centres = centres[dist.local_slice(len(centres))]
        # beyond a short clip's end the centre itself lies in the next one: its window is that of the start
        member = centres if centre_only else centres - t // 2
        done = 0
        rows = data.rows(centres, member, t)
        for pred in lift_windows(net, data.keypoints, rows, self.config.eval_batch, self.config.flip_test):
            part = slice(done, done + len(pred))
            done += len(pred)
            if centre_only:
                out[centres[part]] = pred[:, 0]
            else:
                frames = centres[part, None] + torch.arange(-(t // 2), t - t // 2, device=out.device)
                inside = frames <= data.last[member[part]][:, None]
                out[frames[inside]] = pred[inside]
        net.train(was_training)
        return dist.sum_over_ranks(out)

    def _as_lift_gives_it(self, net: nn.Module, data: Sequences) -> Tensor:
        """Poses (n, 17, 3) in metres, by :func:`moga_st.infer.windows.lift_overlapping`; sequences are shared out over
        the ranks."""
        was_training = net.training
        net.eval()
        out = torch.zeros_like(data.target)
        mine = range(dist.rank(), len(data.bounds), dist.world())
        for (first, stop), shown in ((data.bounds[i], data.shown[i]) for i in mine):
            points = shown.keypoints_px.copy()
            if stop - first > 1 and shown.fps > 0:
                points[..., :2] = OneEuro().smooth(points[..., :2], shown.fps)
            size = torch.tensor(shown.size_px, dtype=torch.float32)
            screen = normalise_screen(torch.from_numpy(points).float(), size).to(out.device)
            poses = lift_overlapping(net, screen, self.config.frames, self.config.eval_batch)
            out[first:stop] = torch.from_numpy(poses - poses[:, :1]).to(out)
        net.train(was_training)
        return dist.sum_over_ranks(out)

    @torch.no_grad()
    def examples(self, net: nn.Module, split: Split = "test", keys: Sequence[str] = ()) -> list[Example]:
        """The best, median and worst by MPJPE of 16 sequences spread over all; or else those that ``keys`` number: 3
        seconds each."""
        data = self.splits[split]
        numbers = [number_of(key, len(data.bounds)) for key in keys]
        some = numbers or np.unique(np.linspace(0, len(data.bounds) - 1, 16).round().astype(int)).tolist()
        pred = self._in_mm(self.predict(net, data, [data.bounds[i] for i in some]), data)
        error = metrics.mpjpe(pred, data.truth_mm).mean(-1)
        order = sorted(some, key=lambda i: error[slice(*data.bounds[i])].mean().item())
        found: list[Example] = []
        picked = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        for label, i in ({f"sequence {n}": n for n in numbers} or picked).items():
            shown = data.shown[i]
            first, stop = data.bounds[i]
            stop = min(stop, first + round(3 * shown.fps))
            keypoints_px = shown.keypoints_px[: stop - first]
            if keypoints_px.shape[-1] == 2:
                keypoints_px = np.concatenate([keypoints_px, np.ones_like(keypoints_px[..., :1])], -1)
            label_of = label if keys else f"{label} of {len(some)}"
            title = f"{label_of}: {shown.name}, MPJPE {error[first:stop].mean().item():.1f} mm"
            poses, truth = (upright(x[first:stop].cpu().numpy() / 1000) for x in (pred, data.truth_mm))
            found.append(LiftedClip(label, title, keypoints_px, shown.size_px, shown.fps, poses, truth, str(i)))
        return found

    def games(self, net: nn.Module, count: int, joint: str = "LWrist", pieces: int = 1) -> list[Game]:
        """The games of interactions of ``count`` test windows, spread over all: the error of a joint, by the joints
        that are seen; see :func:`moga_st.analyse.interactions.pose_game`.

        Raises:
            BadInput: no joint of this name.
        """
        if joint not in JOINTS:
            raise BadInput(f"joint: {joint!r} is none of {', '.join(JOINTS)}{nearest(joint, JOINTS)}")
        data = self.splits["test"]
        centre = torch.tensor(spread(len(data.first), count), device=data.first.device)
        rows = data.rows(centre, centre, self.config.frames)
        number = JOINTS.index(joint)
        return [pose_game(net, data.keypoints[r], data.target[r], number, pieces) for r in rows]

    def _measure(self, pred: Tensor, data: Sequences) -> Score:
        pred = self._in_mm(pred, data)
        values: dict[str, list[Tensor]] = defaultdict(list)
        for x, y in zip(pred.split(CHUNK), data.truth_mm.split(CHUNK), strict=True):
            for name in METRICS_MM[:3]:
                values[name].append(getattr(metrics, name)(x, y))
            values["pck"].append(metrics.pck(x, y, metrics.PCK_THRESHOLD_MM))
            values["auc"].append(metrics.auc(x, y, 1.0))
        per_frame = {name: torch.cat(v) for name, v in values.items()}  # (n, 17) each
        # a sequence's first frame has no velocity; the others' error is that of the step that led to them
        steps = metrics.mpjve(pred, data.truth_mm)
        per_frame["mpjve"] = torch.cat([torch.zeros_like(steps[:1]), steps])
        frames_of: dict[str, list[Tensor]] = defaultdict(list)
        for action, (first, stop) in zip(data.action, data.bounds, strict=True):
            frames_of[action].append(torch.arange(first, stop, device=pred.device))
        index = {action: torch.cat(parts) for action, parts in sorted(frames_of.items())}
        moved = {action: rows[data.moves[rows]] for action, rows in index.items()}
        moved = {action: rows for action, rows in moved.items() if len(rows)}
        means: dict[str, float] = {}
        by: dict[str, dict[str, dict[str, float]]] = {"action": {}, "joint": {}}
        for name in (*METRICS_MM, "pck", "auc"):
            rows_of = moved if name == "mpjve" else index
            if not rows_of:
                continue  # no two frames that follow each other: no velocity
            x = per_frame[name]
            by_action = {action: x[rows].mean().item() for action, rows in rows_of.items()}
            x = x[torch.cat(list(rows_of.values()))]
            by_frame = x.mean().item()
            means[name] = by_frame if self.config.averaging == "frame" else float(np.mean(list(by_action.values())))
            by["action"][name] = by_action
            by["joint"][name] = dict(zip(JOINTS, x.mean(0).tolist(), strict=True))
        return Score(means, by)

    def _in_mm(self, pred: Tensor, data: Sequences) -> Tensor:
        if self.config.family == "motionbert":
            pred = pred.clone()
            pred[:, 0] = 0.0  # the root alone: an offset of the whole pose counts as error, as in that family's code
        return pred * data.to_mm[:, None, None]

    def _sequences(self, clips: list[MotionClip]) -> Sequences:
        return sequences(clips, self._see, self.config.frames, self.setting.device)

    def _see(self, clip: MotionClip, name: str, number: int) -> Seen:
        """One view of a clip as the protocol has it."""
        view = clip.views[name]
        source = "gt" if self.config.keypoints == "noisy" else self.config.keypoints
        pixels = torch.from_numpy(clip.keypoints(name, source))
        if self.config.keypoints == "noisy":
            pixels = detect(pixels[..., :2], clip.name, number, 0, self.config.noise)
        if not self.config.confidence:
            pixels = pixels[..., :2]
        elif pixels.shape[-1] == 2:
            pixels = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
        sizes = view.camera.size_px.float()
        if self.config.family == "videopose3d":
            pose = torch.from_numpy(clip.camera_m(name))
            pose = pose - pose[:, :1]
            return Seen(pixels, sizes, pose, pose * 1000, torch.full((len(pose),), 1000.0))
        if "joint3d_image" not in view.extra:
            raise BadInput(f"clip {clip.name}: the motionbert family needs the MotionBERT pack; prepare that one")
        if "size_px" in view.extra:
            sizes = torch.from_numpy(view.extra["size_px"])
        width = sizes[..., :1].expand(len(pixels), 1)
        image = torch.from_numpy(view.extra["joint3d_image"])
        pose = (image - image[:, :1]) / width[:, None] * 2
        if "2.5d_factor" in view.extra:
            scale = torch.from_numpy(view.extra["2.5d_factor"]).view(-1) * width[:, 0] / 2
            truth = torch.from_numpy(view.extra["joints_2.5d_image"])
            truth = truth - truth[:, :1]
        else:  # the pack's training half has none; nothing is measured there
            scale, truth = torch.full((len(pose),), torch.nan), torch.full_like(pose, torch.nan)
        return Seen(pixels, sizes, pose, truth, scale)


def _centre(x: Tensor) -> Tensor:
    middle = x.shape[1] // 2
    return x[:, middle : middle + 1]
