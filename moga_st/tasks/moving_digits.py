"""Moving digits as a source of clips for video prediction: made on the device, or the published test set's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from moga_st import dist, storage
from moga_st.data.video import moving_mnist
from moga_st.data.video.digits import TEST_IMAGES, DigitsConfig, MNISTConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.errors import BadInput
from moga_st.metrics.scorers import FrameScorer
from moga_st.spec import InputSpec
from moga_st.tasks.task import Setting, Split, at_least_1
from moga_st.tasks.video import VideoConfig

# the generator's streams: two fixed ones for evaluation, the same for every seed, and one a seed for training
VAL_STREAM, TEST_STREAM, FIRST_TRAIN_STREAM = 0, 1, 2


@dataclass(frozen=True)
class MovingDigitsConfig(VideoConfig, kind="moving_digits", was=("moga_st.tasks.video:MovingDigitsConfig",)):
    """Predict ``frames_out`` frames of moving digits from ``frames_in``."""

    digits: DigitsConfig = field(default_factory=MNISTConfig)
    """What moves."""
    motion: MotionConfig = field(default_factory=MotionConfig)
    """How it moves."""
    val_sequences: int = 1000
    """Validation sequences, from training digits held out; they choose the best checkpoint."""
    test_sequences: int = 10_000
    """Test sequences, from the test digits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_1(self, "val_sequences", "test_sequences")

    def data(self, setting: Setting) -> MovingDigits:
        return MovingDigits(self, setting)


class MovingDigits:
    """The source of clips that :class:`MovingDigitsConfig` describes."""

    scorer = FrameScorer()
    channels: ClassVar[tuple[str, ...]] = ("grey",)
    published_shape: ClassVar[tuple[int | None, ...]] = (20, 10_000, 64, 64)
    """(t, n, h, w), or (t, n, h, w, c) in colour, of the published file of test sequences."""

    def __init__(self, config: MovingDigitsConfig, setting: Setting):
        self.config, self.setting = config, setting
        self.frames_of_window = config.frames_in + config.frames_out
        if dist.rank() > 0:
            dist.barrier()  # rank 0 downloads, if anyone has to
        digits = config.digits.load(setting.data_root)
        if dist.rank() == 0:
            dist.barrier()
        self.digits = {s: getattr(digits, s).to(setting.device) for s in ("train", "val", "test")}
        self.published = self._published_test_set()
        test = "generated from the test digits, fixed stream"
        if self.published is not None:
            test = f"published {Path(self._published_places()[0]).name}"
        elif len(digits.test) == 0:
            raise BadInput(
                f"no test set: {digits.source}, and no published test sequences of {config.frames_in} + "
                f"{config.frames_out} frames that move so; put {TEST_IMAGES} (.gz or not) beside the training images"
            )
        self.source, self.fingerprint = digits.source, digits.fingerprint
        self.facts: dict[str, Any] = {
            "digits": digits.source,
            "test_set": f"{config.test_sequences:,} sequences, {test}",
        }

    def spec(self, frames_in: int, frames_out: int) -> InputSpec:
        size = self.config.motion.frame_size
        frame = (len(self.channels), size, size)
        return InputSpec((frames_in, *frame), (frames_out, *frame), channels=self.channels)

    def count(self, split: Literal["train"] | Split) -> int:
        counts = {"val": self.config.val_sequences, "test": self.config.test_sequences, "train": 2**62}
        return counts[split]  # training never sees a sequence twice

    def fetch(self, split: Literal["train"] | Split, numbers: np.ndarray) -> Tensor | None:
        if split != "test" or self.published is None:
            return None
        clips = torch.from_numpy(np.ascontiguousarray(self.published[: self.frames_of_window, numbers]))
        return clips.transpose(0, 1)[:, :, None] if clips.ndim == 4 else clips.permute(1, 0, 4, 2, 3)

    def frames(self, split: Literal["train"] | Split, numbers: Tensor, fetched: Tensor | None) -> Tensor:
        return (self.make(split, numbers) if fetched is None else fetched).float() / 255.0

    def make(self, split: Literal["train"] | Split, numbers: Tensor) -> Tensor:
        digits = self.digits[split]
        draws = moving_mnist.draw(self.stream(split), numbers, self.config.motion, len(digits))
        return moving_mnist.render(digits, draws, self.config.motion, self.frames_of_window)

    def make_slowly(self, split: Literal["train"] | Split, numbers: np.ndarray) -> np.ndarray:
        digits, motion = self.digits[split].cpu().numpy(), self.config.motion
        draws = moving_mnist.draw(self.stream(split), torch.from_numpy(numbers), motion, len(digits))
        return moving_mnist.render_slowly(digits, draws, motion, self.frames_of_window)

    def stream(self, split: Literal["train"] | Split) -> int:
        """The stream of random numbers that a split's sequences are drawn from."""
        return {"val": VAL_STREAM, "test": TEST_STREAM, "train": FIRST_TRAIN_STREAM + self.setting.seed}[split]

    def _published_places(self) -> tuple[str, ...]:
        """Where in the data root the published test sequences can lie: one file name, in several folders."""
        return self.config.digits.sequences

    def _published_test_set(self) -> np.memmap | None:
        """The published test sequences, where they are there and have the config's motion and enough frames."""
        paths = (self.setting.data_root / place for place in self._published_places())
        path = next((p for p in paths if p.is_file()), None)
        if path is None or self.config.motion != MotionConfig():
            return None
        clips = storage.open_npy(path)
        fits = clips.ndim == len(self.published_shape) and all(
            n in (size, None) for size, n in zip(clips.shape, self.published_shape, strict=True)
        )
        if clips.dtype != np.uint8 or not fits:
            wanted = ", ".join("n" if n is None else str(n) for n in self.published_shape)
            raise BadInput(
                f"{path}: expected uint8 ({wanted}), got {clips.dtype} {clips.shape}; fetch it again or move it away"
            )
        if len(clips) < self.frames_of_window:
            return None
        if self.config.test_sequences > clips.shape[1]:
            raise BadInput(f"task.test_sequences {self.config.test_sequences}: {path} holds {clips.shape[1]:,}")
        return clips
