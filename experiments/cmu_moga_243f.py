"""The XS lifter, 243 frames, on CMU motion capture with exact 2D keypoints.

Source: our own; the protocol is that of `moga_st/tasks/pose.py`, the fields of PoseConfig.
Data: CMU motion capture, 17 joints, four virtual cameras a clip; test subjects S05, S07, S14, S16, S35.
Expected time and score: not measured yet.

    moga-st data prepare cmu-mocap SRC
    moga-st train cmu_moga_243f
    moga-st eval runs/cmu_moga_243f
"""

from moga_st.engine import RunConfig
from moga_st.models.lifter import LifterConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="cmu_moga_243f",
        task=PoseConfig(frames=243),
        model=LifterConfig(frames=243),
        optim=OptimConfig(algorithm="muon", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup=0.05, clip_norm=1.0),
        steps=30_000,
        batch_size=8,
        validate_every=2_000,
    )
