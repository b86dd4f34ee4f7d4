"""The lifter for everyone, live: a window ends with the present frame, and nothing later has a part in its pose.

Source: our own; `lifter` in all but what it gives, the poses of the last three frames of 27, of which live use takes
the last.
Data: as `lifter`.
Expected time and score: see experiments/README.md.

    moga-st train lifter_causal --init lifter     # go on from the weights of `lifter`, whose tensors are the same
    moga-st eval runs/lifter_causal               # every fifth test clip: each frame has a window of its own
    moga-st lift runs/lifter_causal --camera 0
"""

from dataclasses import replace

from moga_st.engine import RunConfig
from moga_st.recipes import load


def config() -> RunConfig:
    base = load("lifter")
    return replace(
        base,
        name="lifter_causal",
        task=replace(base.task, last=3, val_clips=4, test_clips=21),
        optim=replace(base.optim, lr=1e-3),
        steps=4000,
        validate_every=500,
    )
