"""Video prediction on a prepared file of clips: one's own, or a published data set's (`moga-st data prepare`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from moga_st.data.draws import uniform
from moga_st.data.video.clip_windows import ClipWindows
from moga_st.errors import BadInput
from moga_st.metrics.scorers import FieldScorer, FrameScorer, RainScorer, Scorer
from moga_st.models.baselines import Climatology
from moga_st.spec import InputSpec
from moga_st.tasks.task import Setting, Split, at_least_1
from moga_st.tasks.video import VideoConfig

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
    columns exchanged (square frames)."""
    rain_thresholds: tuple[float, ...] = ()
    """Score events at or above these values, in the file's unit, by CSI, POD, FAR and FSS."""
    baselines: tuple[Literal["copy_last", "optical_flow"], ...] = ("copy_last", "optical_flow")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_1(self, "val_sequences", "test_sequences")

    def data(self, setting: Setting) -> PreparedClips:
        return PreparedClips(self, setting)


class PreparedClips:
    """The source of clips that :class:`ClipsConfig` describes."""

    def __init__(self, config: ClipsConfig, setting: Setting):
        self.config, self.setting = config, setting
        self.windows = ClipWindows(setting.data_root / config.file, config.frames_in, config.frames_out, setting.seed)
        w = self.windows
        height, width = w.size
        if "transpose" in config.augment and height != width:
            raise BadInput(f"task.augment: transpose needs square frames, {w.path} has {height}x{width}")
        if config.augment and w.unit:
            raise BadInput(f"task.augment: {w.path} holds a field in {w.unit}, whose directions mean something")
        self.source, self.fingerprint = w.source, w.fingerprint
        self.facts: dict[str, Any] = dict(w.facts)
        self.facts["test_set"] = f"{self.count('test'):,} windows of {w.count('test'):,}"
        self.scorer: Scorer = FieldScorer() if w.unit else FrameScorer()
        if config.rain_thresholds:
            self.scorer = RainScorer(config.rain_thresholds)

    def spec(self, frames_in: int, frames_out: int) -> InputSpec:
        w = self.windows
        frame = (len(w.channels), *w.size)
        return InputSpec((frames_in, *frame), (frames_out, *frame), w.channels, w.mean, w.std, w.unit, w.fps)

    def count(self, split: Literal["train"] | Split) -> int:
        there = self.windows.count(split)
        wanted = {"val": self.config.val_sequences, "test": self.config.test_sequences, "train": there}[split]
        return min(there, wanted)

    def fetch(self, split: Literal["train"] | Split, numbers: np.ndarray) -> Tensor:
        return self.windows.fetch(split, self._spread(split, numbers))

    def frames(self, split: Literal["train"] | Split, numbers: Tensor, fetched: Tensor | None) -> Tensor:
        assert fetched is not None
        frames = self.windows.frames(split, numbers, fetched)
        if split != "train" or not self.config.augment:
            return frames
        draws = uniform(self.setting.seed + AUGMENT_STREAM, numbers, len(self.config.augment))
        turns: dict[str, Callable[[Tensor], Tensor]] = {
            "flip_x": lambda x: x.flip(-1),
            "flip_y": lambda x: x.flip(-2),
            "transpose": lambda x: x.transpose(-1, -2),
        }
        for i, name in enumerate(self.config.augment):
            frames = torch.where((draws[:, i] < 0.5).view(-1, 1, 1, 1, 1), turns[name](frames), frames)
        return frames

    def own_baselines(self) -> dict[str, Callable[[Split, np.ndarray], Tensor]]:
        """The climatology, for fields whose times are known."""
        w = self.windows
        if not w.unit or w.times("train", np.arange(1)) is None or w.count("test") == 0:
            return {}
        usual = Climatology(w.training_frames(), w.step_s())

        def climatology(split: Split, numbers: np.ndarray) -> Tensor:
            times = w.times(split, self._spread(split, numbers))
            assert times is not None
            values = usual(times[:, self.config.frames_in :])
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (w.mean, w.std))
            return (values - mean) / std

        return {"climatology": climatology}

    def _spread(self, split: Literal["train"] | Split, numbers: np.ndarray) -> np.ndarray:
        """Which windows of the file are the ones that are scored."""
        return numbers if split == "train" else numbers * self.windows.count(split) // self.count(split)
