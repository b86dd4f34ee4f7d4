"""WeatherBench, wind at 10 m, 12 hours in, 12 out.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, cosine from 1e-3,
batch 16, 50 epochs of 3,285 updates, drop path 0.2, MSE loss.
Data: `moga-st data prepare weatherbench SRC --out DATA_ROOT/weather_uv10.h5 --variables u10 v10`;
its card is datasets/weatherbench/README.md.
Published score: MSE 1.607 (normalised by the test years, see the card).
Expected time: not measured yet; it needs a GPU.

    moga-st train weather_uv10
    moga-st eval runs/weather_uv10
"""

import sys

from moga_st.cli import main
from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="weather_uv10",
        task=ClipsConfig(file="weather_uv10.h5", frames_in=12, frames_out=12, test_sequences=100_000),
        model=SimVPConfig(
            width=32, layers=2, translator=MogaTranslatorConfig(width=256, depth=8, drop_path=(0.01, 0.2))
        ),
        optim=OptimConfig(lr=1e-3, schedule="cosine"),
        steps=164_250,  # 50 epochs
        batch_size=16,
        validate_every=6_570,
    )


if __name__ == "__main__":
    main(["train", __file__, *sys.argv[1:]])
