"""WeatherBench, r, t, u, v at three levels, 4 frames of 6 hours in, 4 out.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, cosine from 5e-3,
batch 16, 50 epochs of 3,378 updates, drop path 0.1, 5 epochs of warm-up, MSE loss.
Data: `moga-st data prepare weatherbench SRC --out DATA_ROOT/weather_several.h5 --variables several
--step-hours 6 --train 1979 2015 --window 8`; its card is datasets/weatherbench/README.md.
Published score: MSE 98.66, over variables of different units (normalised by the test years, see the card).
Expected time: not measured yet; it needs a GPU.

    moga-st train weather_several
    moga-st eval runs/weather_several
"""

import sys

from moga_st.cli import main
from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="weather_several",
        task=ClipsConfig(file="weather_several.h5", frames_in=4, frames_out=4, test_sequences=100_000),
        model=SimVPConfig(
            width=32, layers=2, translator=MogaTranslatorConfig(width=256, depth=8, drop_path=(0.01, 0.1))
        ),
        optim=OptimConfig(lr=5e-3, schedule="cosine", warmup=0.1),
        steps=168_900,  # 50 epochs
        batch_size=16,
        validate_every=6_756,
    )


if __name__ == "__main__":
    main(["train", __file__, *sys.argv[1:]])
