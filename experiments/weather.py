"""WeatherBench at 5.625 degrees: t2m (default), r, uv10, tcc, 12 hours in, 12 out; several, 4 times 6 hours of each.

Source: OpenSTL's configurations of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, cosine, batch 16, 50 epochs,
MSE loss; learning rate, drop path and warm-up are in the table below.
Data: `moga-st data prepare weatherbench SRC --out DATA_ROOT/weather_t2m.h5`, with `--variables r`, `u10 v10`, `tcc`, or
`several --step-hours 6 --train 1979 2015 --window 8` for the others; its card is datasets/weatherbench/README.md.
Published score: MSE 1.152, 31.80, 1.607, 0.0470, and 98.66 over several variables of different units (normalised by the
test years, see the card).
Expected time: not measured yet; it needs a GPU.

    moga-st train weather:uv10
    moga-st eval runs/weather_uv10
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig

SIZES = ("t2m", "r", "uv10", "tcc", "several")
LR = {"t2m": 5e-3, "r": 1e-2, "uv10": 1e-3, "tcc": 1e-2, "several": 5e-3}
DROP_PATH = {"t2m": 0.2, "r": 0.2, "uv10": 0.2, "tcc": 0.1, "several": 0.1}


def config(variable: str = "t2m") -> RunConfig:
    several = variable == "several"
    frames = 4 if several else 12
    epoch = 3_378 if several else 3_285  # updates
    return RunConfig(
        name="weather" if variable == "t2m" else f"weather_{variable}",
        task=ClipsConfig(file=f"weather_{variable}.h5", frames_in=frames, frames_out=frames, test_sequences=100_000),
        model=SimVPConfig(
            width=32,
            layers=2,
            translator=MogaTranslatorConfig(width=256, depth=8, drop_path=(0.01, DROP_PATH[variable])),
        ),
        optim=OptimConfig(lr=LR[variable], schedule="cosine", warmup=0.1 if several else 0.0),
        steps=50 * epoch,
        batch_size=16,
        validate_every=2 * epoch,
    )
