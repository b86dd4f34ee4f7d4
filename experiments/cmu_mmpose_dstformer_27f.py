"""Baseline: MotionBERT's DSTFormer (mmpose's own) at the XS lifter's size, 27 frames, on CMU motion capture.

Source: mmpose 1.3.2 (extra `mmpose`); data, losses and evaluation are those of `cmu_moga_27f`.
Data: CMU motion capture, 17 joints, four virtual cameras a clip; test subjects S05, S07, S14, S16, S35.
Expected time and score: not measured in full; what 600 updates give is in experiments/README.md.

    moga-st train cmu_mmpose_dstformer_27f
    moga-st eval runs/cmu_mmpose_dstformer_27f
"""

from moga_st.engine import RunConfig
from moga_st.integrations.mmpose_lifters import MMPoseDSTFormerConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="cmu_mmpose_dstformer_27f",
        task=PoseConfig(),
        model=MMPoseDSTFormerConfig(channels=2, width=96, head_width=96),
        optim=OptimConfig(algorithm="adamw", lr=5e-4, weight_decay=0.01, schedule="cosine", warmup=0.05, clip_norm=1.0),
        steps=30_000,
        batch_size=64,
        validate_every=2_000,
    )
