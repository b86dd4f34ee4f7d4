"""From a clip of any kind to its predicted future: what `predict`, notebooks and tests call.

Shape legend: ``t`` frames, ``c`` channels, ``h w`` frame size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moga_st.analyse.gradcam import clip_cam
from moga_st.data.video.clip import Clip
from moga_st.data.video.clips import fitted_frames, open_clip, read_clip
from moga_st.draw.video import PredictedClip
from moga_st.errors import BadInput
from moga_st.export.load import load
from moga_st.export.runtime import ExportRuntime, Standing
from moga_st.infer.rollout import RollOut, maps_clips
from moga_st.infer.tiles import predict_frames
from moga_st.metrics.scorers import FieldScorer, FrameScorer, Scorer
from moga_st.models.baselines import Climatology
from moga_st.models.simvp import SimVPConfig
from moga_st.spec import InputSpec

TILE = (128, 128)  # where a weights file does not know the size that it was trained on


def _scorer(spec: InputSpec) -> Scorer:
    return FieldScorer() if spec.unit else FrameScorer()


@dataclass(frozen=True, eq=False)
class Prediction:
    """A predicted clip, in values as the network sees them."""

    start: int
    """Number in the clip of the first frame that the network saw."""
    past: np.ndarray
    """(frames_in, c, h, w): what the network saw."""
    frames: np.ndarray
    """(frames, c, h, w): what it predicted; not clipped."""
    truth: np.ndarray
    """(t, c, h, w), t <= frames: what the clip goes on with, as far as it goes."""
    scores: dict[str, float]
    """Means over the frames that can be compared; empty where there are none."""
    copy_last: dict[str, float]
    """The same for the last frame of the input in place of every prediction."""
    spec: InputSpec
    """Channels, scale and rate."""

    def values(self) -> np.ndarray:
        """The prediction in the data's unit, (frames, c, h, w) float32; images stay within [0, 1]."""
        if not self.spec.unit:
            return self.frames.clip(0.0, 1.0)
        mean, std = (np.array(v, np.float32).reshape(-1, 1, 1) for v in (self.spec.mean, self.spec.std))
        return self.frames * std + mean

    @property
    def conventions(self) -> dict[str, str]:
        """What each of the scores means."""
        return {k: v for k, v in _scorer(self.spec).conventions.items() if k in self.scores}

    def example(self, title: str) -> PredictedClip:
        """The same to draw."""
        truth = self.truth if len(self.truth) else None
        return PredictedClip("predicted", title, self.past, self.frames, truth, self.spec)


def predict(
    weights: str | Path | nn.Module,
    clip: str | Path | Clip,
    *,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    from_end: bool = False,
    device: torch.device | str = "cpu",
    runtime: ExportRuntime | None = None,
) -> Prediction:
    """Predict what follows in a clip.  Only the frames that are needed are decoded.

    Args:
        weights: a weights file, a run's folder, the name of weights in the package, or a :class:`SimVP`.  Weights of
            any other network will do if their data were clips.
        clip: any file or folder that :func:`moga_st.data.video.clips.open_clip` takes, or what it gave.
        start: frame at which the input begins.
        frames: frames to predict; the network's own number if left out, more by rolling out.
        size: height and width that frames are resized to; the clip's own if left out.  Frames much larger than those
            that the network was trained on go through it in overlapping tiles.
        from_end: the input is the clip's last frames, so that what comes after the clip is predicted.
        device: where the network runs.
        runtime: see :func:`moga_st.export.load.load`; frames then go in and come out as bytes where they are images.

    Raises:
        BadInput: no video model, a clip that cannot be read or is too short, other channels than the model's, or
            numbers out of range.
    """
    loaded = Predictor(weights, device, runtime)
    opened = clip if isinstance(clip, Clip) else open_clip(Path(clip), channels=loaded.net.channels)
    if from_end:
        start = max(0, opened.frames - loaded.net.frames_in)
    return loaded.predict(opened, start, frames, size)


def predict_all(
    weights: str | Path | nn.Module,
    clip: str | Path | Clip,
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Prediction]:
    """Every window of a clip that can be compared with its truth, one after the other; see :func:`predict`.  Windows
    follow each other by the frames that are predicted, so that every frame is predicted once."""
    loaded = Predictor(weights, device)
    opened = clip if isinstance(clip, Clip) else open_clip(Path(clip), channels=loaded.net.channels)
    yield from loaded.windows(opened, frames, size)


class Predictor:
    """A network that predicts video, with what is known of its input.

    ``weights``, ``device`` and ``runtime`` are as :func:`moga_st.export.load.load` takes them, or a network.
    """

    def __init__(
        self, weights: str | Path | nn.Module, device: torch.device | str = "cpu", runtime: ExportRuntime | None = None
    ):
        self.climatology: Climatology | None = None
        net: Any
        if isinstance(weights, nn.Module):
            net, spec, name = weights.eval().to(device), None, type(weights).__name__
        else:
            loaded = load(Path(weights), device, runtime)
            net, spec, name = loaded.net, loaded.spec, loaded.name
            if spec is not None and spec.anomalies is not None:
                if loaded.usual is None:
                    raise BadInput(f"{name}: predicts anomalies, but does not hold what they are added to")
                self.climatology = Climatology(spec.anomalies, loaded.usual)
        config = getattr(net, "config", None)
        if isinstance(config, SimVPConfig):
            size = config.frame_size or (None, None)
            known = InputSpec((net.frames_in, net.channels, *size), (net.frames_out, net.channels, *size))
            spec = spec or known
        elif spec is not None and maps_clips(spec):
            net = RollOut(net, spec)
        else:
            held = type(config or net).__name__.removesuffix("Config")
            raise BadInput(f"{name}: holds a {held}; predict needs a video model")
        self.net, self.spec, self.name = net, spec, name

    def predict(self, clip: Clip, start: int, frames: int | None, size: tuple[int, int] | None) -> Prediction:
        """See the function :func:`predict`."""
        _check_size(size)
        if start < 0:
            raise BadInput(f"start: expected 0 or more, got {start}")
        _check_frames(frames)
        net = self.net
        wanted = net.frames_in + (net.frames_out if frames is None else frames)
        if start + net.frames_in > clip.frames:
            cut = getattr(clip, "cut", False)
            kind, remedy = (
                ("whole frames before it is damaged or cut off", "; get a whole copy") if cut else ("frames", "")
            )
            needed = f"the model needs {net.frames_in} from frame {start}"
            raise BadInput(f"{clip.path}: has {clip.frames} {kind}, but {needed}{remedy}")
        read = read_clip(clip, net.channels, size, start, wanted, images=not self.spec.unit)
        if len(read) < net.frames_in:
            raise BadInput(f"{clip.path}: {len(read)} frames can be read from frame {start}, needs {net.frames_in}")
        return self._predict(clip, read, start, wanted)

    def windows(self, clip: Clip, frames: int | None, size: tuple[int, int] | None) -> Iterator[Prediction]:
        """See :func:`predict_all`.  The clip is decoded once, and a window of it is in memory."""
        _check_size(size)
        _check_frames(frames)
        out = self.net.frames_out if frames is None else frames
        wanted, start, kept = self.net.frames_in + out, 0, []
        for frame in fitted_frames(clip, self.net.channels, size, 0, None, images=not self.spec.unit):
            kept.append(frame)
            if len(kept) == wanted:
                yield self._predict(clip, np.stack(kept), start, wanted)
                start, kept = start + out, kept[out:]

    @torch.no_grad()
    def _predict(self, clip: Clip, read: np.ndarray, start: int, wanted: int) -> Prediction:
        """From frames (t, c, h, w) that were read at ``start``, ``wanted`` of them if there are so many."""
        net, images = self.net, not self.spec.unit
        frames = wanted - net.frames_in
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.spec.mean, self.spec.std))
        whole = (torch.from_numpy(read) - mean) / std if not images else torch.from_numpy(read)
        past, true = whole[: net.frames_in], whole[net.frames_in :]
        height, width = self.spec.shape[-2:]
        tile = TILE if height is None or width is None else (height, width)
        usual = self._usual(clip, start, wanted, past.shape[1:])
        if usual is None:
            pred = predict_frames(net, past, frames, tile)
        else:
            before, after = usual[: net.frames_in] / std, usual[net.frames_in :] / std
            pred = predict_frames(net, past - before, frames, tile) + after
        true = true[: len(pred)]
        scores, copied = self._scores(pred[: len(true)], true), self._scores(past[-1:].expand_as(true), true)
        return Prediction(start, past.numpy(), pred.numpy(), true.numpy(), scores, copied, self.spec)

    def _scores(self, pred: Tensor, true: Tensor) -> dict[str, float]:
        """Means over frames (t, c, h, w)."""
        if not len(true):
            return {}
        scorer = _scorer(self.spec)
        # a frame at a time: the sums that large frames go through are many times their size
        each = [scorer(a, b, self.spec) for a, b in zip(pred[:, None, None], true[:, None, None], strict=True)]
        means = {k: torch.stack([terms[k] for terms in each]).mean() for k in each[0]}
        return {k: v.item() for k, v in scorer.finish(means).items()}

    def _usual(self, clip: Clip, start: int, count: int, shape: tuple[int, ...]) -> Tensor | None:
        """What is usual in ``count`` frames (c, h, w) from ``start`` on, some of which may come after the clip."""
        if self.climatology is None:
            return None
        own = tuple(self.climatology.mean.shape[1:])
        if own != tuple(shape):
            raise BadInput(
                f"{clip.path}: frames are {shape[1]}x{shape[2]}, but {self.name} knows what is usual at each place of "
                f"{own[1]}x{own[2]} frames; give that as the size"
            )
        if not self.climatology.bins:
            return self.climatology(np.zeros(count))
        if clip.time_s is None or clip.frames < 2:
            raise BadInput(
                f"{clip.path}: has no dates, but {self.name} predicts anomalies from a climatology; give NetCDF or "
                "Zarr with a time"
            )
        after = np.arange(1, max(0, start + count - clip.frames) + 1) * np.median(np.diff(clip.time_s))
        return self.climatology(np.concatenate([clip.time_s, clip.time_s[-1] + after])[start : start + count])

    def came_from(self, made: Prediction, frame: int) -> np.ndarray:
        """What a predicted frame, counted from 1, came from: heat (t, h, w) of the input's frames, together in [0, 1];
        see :func:`moga_st.analyse.gradcam.clip_cam`."""
        if self.climatology is not None:
            raise BadInput(f"{self.name}: sees anomalies, not the clip's own values, so that no heat lies on these")
        if isinstance(self.net, Standing):
            raise BadInput(f"{self.name}: what frames came from is seen in torch alone; leave the runtime out")
        if isinstance(self.net, RollOut):
            raise BadInput(f"{self.name}: what frames came from is seen in SimVP's encoder alone")
        device = next(self.net.parameters()).device
        return clip_cam(self.net, torch.from_numpy(made.past).to(device), frame).cpu().numpy()


def _check_frames(frames: int | None) -> None:
    if frames is not None and frames < 1:
        raise BadInput(f"expected at least 1, got {frames}", argument="frames")


def _check_size(size: tuple[int, int] | None) -> None:
    if size is not None and min(size) < 1:
        raise BadInput(f"size: expected at least 1, got {min(size)}")
