"""A recipe small enough for tests: the real code on digits drawn here, so no data set is needed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from moga_st.data.video.digits import Digits, DigitsConfig
from moga_st.data.video.moving_mnist import MotionConfig
from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig


@dataclass(frozen=True)
class BlobsConfig(DigitsConfig):
    """Ellipses of random axes; ``brightness`` changes the data, as another source would."""

    brightness: int = 255

    def load(self, root: Path) -> Digits:
        axes = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 4 + 1
        y, x = torch.meshgrid(torch.arange(12) - 5.5, torch.arange(12) - 5.5, indexing="ij")
        inside = (y / axes[:, :1, None]) ** 2 + (x / axes[:, 1:, None]) ** 2 <= 1
        images = (inside * self.brightness).to(torch.uint8)
        digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
        return Digits(images[:20], images[20:25], images[25:], f"ellipses (asked for {root.name})", digest)


def config() -> RunConfig:
    return RunConfig(
        name="tiny",
        task=MovingDigitsConfig(
            digits=BlobsConfig(),
            motion=MotionConfig(frame_size=16),
            frames_in=4,
            frames_out=4,
            val_sequences=10,
            test_sequences=22,
            eval_batch=8,
        ),
        # drop path and clipping are on, so that what they draw and reduce is tested with everything else
        model=SimVPConfig(
            frames_in=4,
            frames_out=4,
            width=4,
            layers=2,
            translator=MogaTranslatorConfig(width=24, depth=2, ffn_ratio=2, drop_path=(0.2, 0.2)),
        ),
        optim=OptimConfig(algorithm="adamw", lr=2e-3, weight_decay=0.01, clip_norm=1.0, ema_decay=0.9),
        steps=12,
        batch_size=4,
        accumulate=2,
        validate_every=6,
    )
