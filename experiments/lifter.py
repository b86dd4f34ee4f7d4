"""The lifter for everyone: any detector's keypoints, any camera, any frame rate, in metric camera space.

Source: our own; Moga blocks on the grid of time x joints, trained on windows that each have a new random camera, body
and detector (`moga_st/data/pose/person_windows.py`).
Data: CMU motion capture, 17 joints; test subjects S05, S07, S14, S16, S35.
Expected time and score: see experiments/README.md.

    moga-st data prepare cmu-mocap SRC
    moga-st train lifter
    moga-st eval runs/lifter
"""

from moga_st.engine import RunConfig
from moga_st.models.person import PersonLifterConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.person import PersonConfig


def config() -> RunConfig:
    return RunConfig(
        name="lifter",
        task=PersonConfig(),
        model=PersonLifterConfig(),
        optim=OptimConfig(
            algorithm="muon",
            lr=4e-3,
            weight_decay=0.01,
            schedule="cosine",
            warmup=0.05,
            clip_norm=1.0,
            ema_decay=0.998,
        ),
        steps=20000,
        batch_size=16,
        validate_every=1000,
    )
