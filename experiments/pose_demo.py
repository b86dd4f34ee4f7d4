"""A small pose lifter on generated motion, for a laptop's CPU, offline.

Source: our own. The poses are generated (an articulated body, see `moga_st/data/pose/generated.py`): no person's, and
their scores say nothing about people.
Expected time and score: a minute on two cores, MPJPE 45 mm where the mean pose has 207 (experiments/README.md).

    moga-st train pose_demo
    moga-st eval runs/pose_demo
"""

from moga_st.data.pose.sources import GeneratedConfig
from moga_st.engine import RunConfig
from moga_st.models.lifter import LifterConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="pose_demo",
        task=PoseConfig(data=GeneratedConfig(), val_clips=4),
        model=LifterConfig(width=48, depth=4),
        optim=OptimConfig(algorithm="muon", lr=4e-3, weight_decay=0.01, schedule="onecycle", clip_norm=1.0),
        steps=500,
        batch_size=16,
        validate_every=250,
    )
