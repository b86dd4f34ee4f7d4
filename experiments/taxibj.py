"""TaxiBJ, 4 frames of traffic in and out of 32x32 cells in, 4 out.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, cosine from 1e-3,
batch 16, 50 epochs of 1,226 updates, drop path 0.1, 5 epochs of warm-up, MSE loss.
Data: `moga-st data prepare taxibj SRC`; its card is datasets/taxibj/README.md.
Published score: MSE 0.3114, MAE 15.06, SSIM 0.9847, PSNR 39.70.
Expected time: not measured yet; it needs a GPU.

    moga-st train taxibj
    moga-st eval runs/taxibj
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="taxibj",
        task=ClipsConfig(file="taxibj.h5", frames_in=4, frames_out=4),
        model=SimVPConfig(
            width=32, layers=2, translator=MogaTranslatorConfig(width=256, depth=8, drop_path=(0.01, 0.1))
        ),
        optim=OptimConfig(lr=1e-3, schedule="cosine", warmup=0.1),
        steps=61_300,  # 50 epochs
        batch_size=16,
        validate_every=2_452,
    )
