"""A small SimVP with the MogaNet translator on Moving MNIST, for a laptop's CPU.

Source: our own; frames folded 8x8 into channels, values read out as probabilities, Muon.
Expected time and score: two to three minutes on two cores, MSE 95 where copying the last frame has 281
(experiments/README.md).

    moga-st train mmnist_demo
    moga-st eval runs/mmnist_demo
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig


def config() -> RunConfig:
    return RunConfig(
        name="mmnist_demo",
        task=MovingDigitsConfig(val_sequences=64, test_sequences=512),
        # frames are folded 8x8 into channels, to the translator's grid at once: two blocks then see the most sequences
        model=SimVPConfig(
            width=16,
            patch=8,
            layers=1,
            translator=MogaTranslatorConfig(width=128, depth=2, ffn_ratio=2),
            probabilities=True,
        ),
        optim=OptimConfig(algorithm="muon", lr=1.6e-2, schedule="onecycle", clip_norm=1.0),
        steps=1250,
        batch_size=32,
        shards=2,
        validate_every=250,
    )
