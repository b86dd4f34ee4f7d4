"""SEVIR's radar (VIL), an hour ahead: 13 frames of 5 minutes in, 12 out, at 128x128.

Source: our own; SimVP with the MogaNet translator in the size of the KTH recipe. Nobody has published it on SEVIR.
Data: `moga-st data prepare sevir SRC --size 128`; its card is datasets/sevir/README.md.
Scores: CSI, POD, FAR and FSS beside persistence and optical flow; strong events weigh more in the loss.
Expected time and score: not measured yet; it needs a GPU.

    moga-st train sevir
    moga-st eval runs/sevir
"""

from moga_st.engine import RunConfig
from moga_st.metrics.rain import SEVIR_THRESHOLDS
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig

THRESHOLDS = tuple(level / 255 for level in SEVIR_THRESHOLDS)  # of what is stored as levels / 255
WEIGHTS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0)  # rising as arXiv 1706.03458's do; SEVIR's own are not published


def config() -> RunConfig:
    return RunConfig(
        name="sevir",
        task=ClipsConfig(
            file="sevir.h5", frames_in=13, frames_out=12, rain_thresholds=THRESHOLDS, rain_weights=WEIGHTS
        ),
        model=SimVPConfig(
            width=64, layers=4, translator=MogaTranslatorConfig(width=256, depth=6, drop_path=(0.01, 0.1))
        ),
        optim=OptimConfig(lr=1e-3, schedule="onecycle"),
        steps=100_000,
        batch_size=16,
        validate_every=5_000,
    )
