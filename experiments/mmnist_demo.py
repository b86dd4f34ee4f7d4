"""A small SimVP with the MogaNet translator on Moving MNIST, for a laptop's CPU.

make demo
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.video import MovingDigitsConfig


def config() -> RunConfig:
    return RunConfig(
        name="mmnist_demo",
        task=MovingDigitsConfig(val_sequences=64, test_sequences=512),
        model=SimVPConfig(
            width=32, patch=2, layers=2, translator=MogaTranslatorConfig(width=128, depth=4, ffn_ratio=4)
        ),
        optim=OptimConfig(algorithm="adamw", lr=3e-3, schedule="onecycle", clip_norm=1.0),
        steps=500,
        batch_size=16,
        validate_every=250,
    )
