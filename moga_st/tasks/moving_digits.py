"""Moving digits as a source of clips for video prediction: made on the device, or the published test set's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from moga_st import dist
from moga_st.data.video import moving_mnist
from moga_st.data.video.digits import DigitsConfig, MNISTConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.errors import BadInput
from moga_st.metrics.scorers import FrameScorer
from moga_st.spec import InputSpec
from moga_st.storage import open_npy
from moga_st.tasks.task import Setting, Split, at_least_1
from moga_st.tasks.video import VideoConfig

# the generator's streams: two fixed ones for evaluation, the same for every seed, and one a seed for training
VAL_STREAM, TEST_STREAM, FIRST_TRAIN_STREAM = 0, 1, 2
PUBLISHED_TEST = "mnist_test_seq.npy"


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
    published_name = PUBLISHED_TEST

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
        made = self.published is None
        test = "generated from the test digits, fixed stream" if made else f"published {self.published_name}"
        self.source, self.fingerprint = digits.source, digits.fingerprint
        self.facts: dict[str, Any] = {
            "digits": digits.source,
            "test_set": f"{config.test_sequences:,} sequences, {test}",
        }

    def spec(self, frames_in: int, frames_out: int) -> InputSpec:
        size = self.config.motion.frame_size
        return InputSpec((frames_in, 1, size, size), (frames_out, 1, size, size), channels=("grey",))

    def count(self, split: Literal["train"] | Split) -> int:
        counts = {"val": self.config.val_sequences, "test": self.config.test_sequences, "train": 2**62}
        return counts[split]  # training never sees a sequence twice

    def fetch(self, split: Literal["train"] | Split, numbers: np.ndarray) -> Tensor | None:
        if split != "test" or self.published is None:
            return None
        clips = self.published[: self.frames_of_window, numbers]
        return torch.from_numpy(np.ascontiguousarray(clips)).transpose(0, 1)[:, :, None]

    def frames(self, split: Literal["train"] | Split, numbers: Tensor, fetched: Tensor | None) -> Tensor:
        if fetched is None:
            digits = self.digits[split]
            draws = moving_mnist.draw(self.stream(split), numbers, self.config.motion, len(digits))
            fetched = moving_mnist.render(digits, draws, self.config.motion, self.frames_of_window)
        return fetched.float() / 255.0

    def stream(self, split: Literal["train"] | Split) -> int:
        """The stream of random numbers that a split's sequences are drawn from."""
        return {"val": VAL_STREAM, "test": TEST_STREAM, "train": FIRST_TRAIN_STREAM + self.setting.seed}[split]

    def _published_test_set(self) -> np.ndarray | None:
        """The published test file (20, 10000, 64, 64), memory-mapped, where it applies and is there."""
        root = self.setting.data_root
        path = next((p for p in published_places(root) if p.is_file()), root / PUBLISHED_TEST)
        applies = isinstance(self.config.digits, MNISTConfig) and self.config.motion == MotionConfig()
        if not (applies and self.frames_of_window <= 20 and path.is_file()):
            return None
        clips = open_npy(path)
        if clips.dtype != np.uint8 or clips.shape != (20, 10_000, 64, 64):
            raise BadInput(
                f"{path}: expected uint8 (20, 10000, 64, 64), got {clips.dtype} {clips.shape}; "
                "fetch it again or move it away"
            )
        if self.config.test_sequences > clips.shape[1]:
            raise BadInput(f"task.test_sequences {self.config.test_sequences}: {path} holds {clips.shape[1]:,}")
        return clips


def published_places(root: Path, name: str = PUBLISHED_TEST) -> list[Path]:
    """Where a published test file lies: in the data root, or in the folder that OpenSTL gives it."""
    return [folder / name for folder in (root, root / "moving_mnist", root / "MovingMNIST")]
