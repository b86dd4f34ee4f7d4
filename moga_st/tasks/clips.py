"""Video prediction on a prepared file of clips: one's own, or a published data set's (`moga-st data prepare`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from moga_st.data.draws import constant, uniform
from moga_st.data.video.clip_windows import ClipWindows
from moga_st.data.video.moments import Moments
from moga_st.errors import BadInput
from moga_st.metrics.scorers import FieldScorer, FrameScorer, RainScorer, Scorer
from moga_st.models.baselines import Climatology, bin_numbers
from moga_st.spec import InputSpec
from moga_st.tasks.task import Setting, Split, at_least_1
from moga_st.tasks.video import VideoConfig

HARMONICS = 2  # of the year, in the climatology that anomalies are taken from
AUGMENT_STREAM = 1 << 40  # apart from the stream that shuffles windows


@dataclass(frozen=True)
class ClipsConfig(VideoConfig, kind="clips"):
    """Predict the next frames of clips in a prepared file."""

    file: str = "clips.h5"
    """The prepared file: a name in the data root, or a path."""
    val_sequences: int = 256
    """Validation windows, spread over all; they choose the best checkpoint. Fewer where the file has fewer."""
    test_sequences: int = 10_000
    """Test windows, spread over all. Fewer where the file has fewer."""
    augment: tuple[Literal["flip_x", "flip_y", "transpose"], ...] = ()
    """What half of the training windows, at random, go through: mirrored left to right, upside down, or with rows and
    columns exchanged (square frames or crops)."""
    crop: tuple[int, int] | None = None
    """Height and width of the part of each training window, at a place drawn at random, that is trained on; whole
    frames are scored."""
    anomalies: bool = False
    """The network sees and predicts how far values are from what is usual at their place: for fields whose dates are
    known from the climatology of the training part (of months, its first two harmonics), else from the median of its
    frames, the scene without what moves. For fields with seasons, and for cameras that stand still. Scores and
    baselines are those of the values."""
    rain_thresholds: tuple[float, ...] = ()
    """Score events at or above these values, in the file's unit, by CSI, POD, FAR and FSS."""
    rain_weights: tuple[float, ...] = ()
    """What an error weighs in the loss where the true value is at or above each of `rain_thresholds`; below the first
    it weighs 1. Strong rain is rare, and unweighted training all but forgets it (balanced loss, arXiv 1706.03458)."""
    baselines: tuple[Literal["copy_last", "optical_flow"], ...] = ("copy_last", "optical_flow")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_1(self, "val_sequences", "test_sequences")
        if list(self.rain_thresholds) != sorted(set(self.rain_thresholds)):
            raise BadInput(f"task.rain_thresholds: expected rising values, got {self.rain_thresholds}")
        if self.rain_weights and len(self.rain_weights) != len(self.rain_thresholds):
            raise BadInput(
                f"task.rain_weights: expected one for each of {len(self.rain_thresholds)} rain_thresholds, got "
                f"{len(self.rain_weights)}"
            )
        if min(self.rain_weights, default=1.0) < 0:
            raise BadInput(f"task.rain_weights: expected 0 or more, got {self.rain_weights}")
        if self.rain_weights and self.anomalies:
            raise BadInput("task.rain_weights: thresholds are of values, not of anomalies; leave one of them out")

    def data(self, setting: Setting) -> PreparedClips:
        return PreparedClips(self, setting)


class PreparedClips:
    """The source of clips that :class:`ClipsConfig` describes."""

    def __init__(self, config: ClipsConfig, setting: Setting):
        self.config, self.setting = config, setting
        self.climatology: Climatology | None = None
        self._usual: Tensor | None = None  # the same as a network sees values, on the device
        self.windows = ClipWindows(setting.data_root / config.file, config.frames_in, config.frames_out, setting.seed)
        w = self.windows
        height, width = config.crop or w.size
        if not (1 <= height <= w.size[0] and 1 <= width <= w.size[1]):
            raise BadInput(f"task.crop: {height}x{width} is no part of the {w.size[0]}x{w.size[1]} frames of {w.path}")
        if "transpose" in config.augment and height != width:
            raise BadInput(f"task.augment: transpose needs square frames or crops, {w.path} has {height}x{width}")
        if config.augment and w.unit:
            raise BadInput(f"task.augment: {w.path} holds a field in {w.unit}, whose directions mean something")
        self.climatology = self._climatology() if config.anomalies else None
        if self.climatology is not None and w.unit:
            w.mean, w.std = (0.0,), self._deviation(self.climatology)
        self.source, self.fingerprint = w.source, w.fingerprint
        self.facts: dict[str, Any] = dict(w.facts)
        self.facts["test_set"] = f"{self.count('test'):,} windows of {w.count('test'):,}"
        self.scorer: Scorer = FieldScorer() if w.unit else FrameScorer()
        if config.rain_thresholds:
            self.scorer = RainScorer(config.rain_thresholds)

    def spec(self, frames_in: int, frames_out: int) -> InputSpec:
        w = self.windows
        frame = (len(w.channels), *w.size)
        bins = None if self.climatology is None else self.climatology.bins
        return InputSpec((frames_in, *frame), (frames_out, *frame), w.channels, w.mean, w.std, w.unit, w.fps, bins)

    def count(self, split: Literal["train"] | Split) -> int:
        there = self.windows.count(split)
        wanted = {"val": self.config.val_sequences, "test": self.config.test_sequences, "train": there}[split]
        return min(there, wanted)

    def fetch(self, split: Literal["train"] | Split, numbers: np.ndarray) -> Any:
        """Windows (b, t, c, h, w) as they are stored; with anomalies, and the climatology's bins of frames (b, t)."""
        numbers = self._spread(split, numbers)
        frames = self.windows.fetch(split, numbers)
        if self.climatology is None:
            return frames
        times = self.windows.times(split, numbers)
        times = np.zeros(frames.shape[:2]) if times is None else times
        return frames, torch.from_numpy(bin_numbers(self.climatology.bins, times))

    def frames(self, split: Literal["train"] | Split, numbers: Tensor, fetched: Any) -> Tensor:
        return self.windows.frames(split, numbers, fetched if self.climatology is None else fetched[0])

    def augmented(self, numbers: Tensor, frames: Tensor) -> Tensor:
        """Training windows (b, t, c, h, w) as a network sees them, each turned as its number draws it."""
        ways = len(self.config.augment)
        draws = uniform(self.setting.seed + AUGMENT_STREAM, numbers, ways + 2)
        if self.config.crop is not None:
            frames = cropped(frames, self.config.crop, draws[:, ways:])
        turns: dict[str, Callable[[Tensor], Tensor]] = {
            "flip_x": lambda x: x.flip(-1),
            "flip_y": lambda x: x.flip(-2),
            "transpose": lambda x: x.transpose(-1, -2),
        }
        for i, name in enumerate(self.config.augment):
            frames = torch.where((draws[:, i] < 0.5).view(-1, 1, 1, 1, 1), turns[name](frames), frames)
        return frames

    def weights(self, future: Tensor) -> Tensor | None:
        """What errors weigh in the loss, where frames (b, t, c, h, w) as a network sees them came true; None where all
        weigh the same."""
        if not self.config.rain_weights:
            return None
        mean, std = (constant(v, future.device).view(-1, 1, 1) for v in (self.windows.mean, self.windows.std))
        # a value in the file's unit that is at its threshold must not fall below it by rounding
        values = (future.double() * std.double() + mean.double()).float()
        reached = sum((values >= t).long() for t in self.config.rain_thresholds)
        return constant((1.0, *self.config.rain_weights), future.device)[reached]

    def usual(self, fetched: Any) -> Tensor | None:
        """What is usual at each place of the frames (b, t, c, h, w), as a network sees values; None without
        anomalies."""
        if self.climatology is None:
            return None
        bins = fetched[1]
        if self._usual is None or self._usual.device != bins.device:
            std = torch.tensor(self.windows.std).view(-1, 1, 1)
            self._usual = (self.climatology.mean / std).to(bins.device)
        return self._usual[bins]

    def own_baselines(self) -> dict[str, Callable[[Split, np.ndarray], Tensor]]:
        """The climatology, for fields whose dates are known."""
        w = self.windows
        if w.count("test") == 0 or not self._is_dated():
            return {}
        usual = Climatology.of(w.training_frames(), w.step_s())

        def climatology(split: Split, numbers: np.ndarray) -> Tensor:
            times = w.times(split, self._spread(split, numbers))
            assert times is not None
            values = usual(times[:, self.config.frames_in :])
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (w.mean, w.std))
            return (values - mean) / std

        return {"climatology": climatology}

    def _is_dated(self) -> bool:
        """Whether the file holds a field with dates, which has a season."""
        return bool(self.windows.unit) and self.windows.times("train", np.arange(1)) is not None

    def _climatology(self) -> Climatology:
        """What is usual: by season for fields with dates, else one frame."""
        w = self.windows
        if self._is_dated():
            return Climatology.of(w.training_frames(), w.step_s(), HARMONICS)
        return Climatology("", torch.from_numpy(w.median_frame())[None])

    def _deviation(self, usual: Climatology) -> tuple[float, ...]:
        """Standard deviation of each channel's anomalies in the training part."""
        moments = Moments(len(self.windows.channels))
        for time_s, values in self.windows.training_frames():
            moments.add(np.moveaxis(values - usual(time_s).numpy(), 1, -1))
        return tuple(moments.mean_std()[1].tolist())

    def _spread(self, split: Literal["train"] | Split, numbers: np.ndarray) -> np.ndarray:
        """Which windows of the file are the ones that are scored."""
        return numbers if split == "train" else numbers * self.windows.count(split) // self.count(split)


def cropped(frames: Tensor, size: tuple[int, int], place: Tensor) -> Tensor:
    """Parts (b, t, c, *size) of windows (b, t, c, h, w), at ``place`` (b, 2) in [0, 1): 0 is at the top or left."""
    pixels = []
    for own, part, at in zip(frames.shape[-2:], size, place.unbind(1), strict=True):
        first = (at * (own - part + 1)).long()
        pixels.append(first[:, None] + torch.arange(part, device=frames.device))
    rows, columns = pixels[0][:, None, None, :, None], pixels[1][:, None, None, None, :]
    b, t, c = (torch.arange(n, device=frames.device) for n in frames.shape[:3])
    return frames[b.view(-1, 1, 1, 1, 1), t.view(-1, 1, 1, 1), c.view(-1, 1, 1), rows, columns]
