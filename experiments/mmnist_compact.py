"""Moving MNIST in 1.45 M parameters: the weights inside the package.

Source: our own; SimVP with the MogaNet translator, frames folded 2x2 into channels, Muon.
Budget: 22,000 updates of 8 sequences, an eleventh of the published 200 epochs, for a CPU.  The weights in the package
have seen five times as many, on a GPU.
Expected time and score: see experiments/README.md.

    moga-st train mmnist_compact
    moga-st eval runs/mmnist_compact
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig


def config() -> RunConfig:
    return RunConfig(
        name="mmnist_compact",
        task=MovingDigitsConfig(),
        model=SimVPConfig(
            width=16,
            patch=2,
            layers=2,
            translator=MogaTranslatorConfig(width=128, depth=6, ffn_ratio=4, drop_path=(0.0, 0.0)),
        ),
        optim=OptimConfig(algorithm="muon", lr=4e-3, schedule="onecycle", clip_norm=1.0, ema_decay=0.995),
        steps=22_000,
        batch_size=8,
        validate_every=2_000,
    )
