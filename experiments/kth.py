"""KTH Actions, 10 frames in, 20 out, at 128x128.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, OneCycle to 5e-3,
batch 16, 100 epochs of 325 updates, drop path 0.2, MSE loss.
Data: `moga-st data prepare kth SRC`; its card is datasets/kth/README.md.
Published score: MSE 42.98, MAE 418.7, SSIM 0.9065, PSNR 27.16, LPIPS 0.2515.
Expected time: not measured yet; it needs a GPU.

    moga-st train kth
    moga-st eval runs/kth
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="kth",
        task=ClipsConfig(file="kth.h5", frames_in=10, frames_out=20),
        model=SimVPConfig(
            width=64, layers=2, translator=MogaTranslatorConfig(width=256, depth=6, drop_path=(0.01, 0.2))
        ),
        optim=OptimConfig(lr=5e-3, schedule="onecycle"),
        steps=32_500,  # 100 epochs
        batch_size=16,
        validate_every=1_625,
    )
