"""The XS lifter for keypoints of real detectors: 27 frames, noisy 2D with confidence, on CMU motion capture.

Source: our own; `cmu_moga_27f` with the noise model of `moga_st/data/pose/detector_noise.py`, and the confidence as a
third channel.
Data: CMU motion capture, 17 joints, four virtual cameras a clip; test subjects S05, S07, S14, S16, S35.
Expected time and score: see experiments/README.md.

    moga-st data prepare cmu-mocap SRC
    moga-st train lifter_xs_27f
    moga-st eval runs/lifter_xs_27f
"""

from moga_st.engine import RunConfig
from moga_st.models.lifter import LifterConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="lifter_xs_27f",
        task=PoseConfig(keypoints="noisy", confidence=True),
        model=LifterConfig(channels=3),
        optim=OptimConfig(
            algorithm="muon",
            lr=4e-3,
            weight_decay=0.01,
            schedule="cosine",
            warmup=0.05,
            clip_norm=1.0,
            ema_decay=0.998,
        ),
        steps=2000,
        batch_size=16,
        validate_every=500,
    )
