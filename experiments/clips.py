"""Your own clips: a SimVP with the MogaNet translator for a prepared file, small enough for a laptop's CPU.

Source: our own; frames folded 4x4 into channels, Muon. Frames, channels and their size are the data's.
Data: what `moga-st data prepare clips SRC --out clips.h5` wrote.
Expected time and score: `moga-st train` says how long it takes; `moga-st eval` scores it beside copying the last
frame and the optical flow. More updates (--steps) and wider networks (--model.width, --model.translator.width) may pay.

A camera that stands still: --task.anomalies --model.fade --task.loss charbonnier. A field with seasons, such as monthly
winds: --task.anomalies --model.fade. Large frames: --task.crop 128 128 trains on parts of them. A time instead of a
number of updates: --minutes 10.

    moga-st data prepare clips SRC --out clips.h5
    moga-st train clips --data-root .
    moga-st eval runs/clips --data-root .
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="clips",
        task=ClipsConfig(file="clips.h5", frames_in=10, frames_out=10, eval_batch=8, test_sequences=500),
        model=SimVPConfig(
            width=16,
            patch=4,
            layers=2,
            translator=MogaTranslatorConfig(width=128, depth=4, ffn_ratio=4),
            residual=True,
            motion=True,
        ),
        optim=OptimConfig(algorithm="muon", lr=2e-3, schedule="onecycle", clip_norm=1.0, ema_decay=0.99),
        steps=2000,
        batch_size=4,
        validate_every=250,
    )
