"""The XS lifter, 243 frames, on Human3.6M in the VideoPose3D protocol with CPN keypoints.

Source: our own; the protocol is that of `moga_st/tasks/pose.py`, the fields of PoseConfig.
Data: Human3.6M, which needs its licence; test subjects S9 and S11.
Expected time and score: not measured; the data need a licence.

    moga-st data prepare human3.6m SRC
    moga-st train h36m_moga_243f
    moga-st eval runs/h36m_moga_243f
"""

from moga_st.data.pose.sources import Human36MConfig
from moga_st.engine import RunConfig
from moga_st.models.lifter import LifterConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.pose import PoseConfig


def config() -> RunConfig:
    return RunConfig(
        name="h36m_moga_243f",
        task=PoseConfig(
            data=Human36MConfig(), keypoints="cpn_ft_h36m_dbb", frames=243, averaging="action", val_clips=30
        ),
        model=LifterConfig(frames=243),
        optim=OptimConfig(algorithm="muon", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup=0.05, clip_norm=1.0),
        steps=120_000,
        batch_size=8,
        validate_every=10_000,
    )
