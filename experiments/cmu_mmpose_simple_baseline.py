"""Baseline: SimpleBaseline3D (mmpose's own), one frame, on CMU motion capture.

Source: mmpose 1.3.2 (extra `mmpose`); data, losses and evaluation are those of `cmu_moga_27f`, for single frames.
Data: CMU motion capture, 17 joints, four virtual cameras a clip; test subjects S05, S07, S14, S16, S35.
Expected time and score: not measured in full; what 600 updates give is in experiments/README.md.

    moga-st train cmu_mmpose_simple_baseline
    moga-st eval runs/cmu_mmpose_simple_baseline
"""

from moga_st.engine import RunConfig
from moga_st.integrations.mmpose_lifters import MMPoseSimpleBaselineConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="cmu_mmpose_simple_baseline",
        task=PoseConfig(frames=1, eval_batch=1024),
        model=MMPoseSimpleBaselineConfig(),
        optim=OptimConfig(algorithm="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup=0.05, clip_norm=1.0),
        steps=30_000,
        batch_size=64 * 27,  # as many poses as the lifter's windows have
        validate_every=2_000,
    )
