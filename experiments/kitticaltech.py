"""KITTI for training, Caltech Pedestrian for the test, 10 frames in, 1 out, at 128x160.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, OneCycle to 5e-3,
batch 16, 100 epochs of 127 updates, drop path 0.1, MSE loss.
Data: `moga-st data prepare kitticaltech SRC`; its card is datasets/kitticaltech/README.md.
Published score: MSE 131.4, MAE 1512.1, SSIM 0.9442, PSNR 27.79, LPIPS 0.0539.
Expected time: not measured yet; it needs a GPU.

    moga-st train kitticaltech
    moga-st eval runs/kitticaltech
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="kitticaltech",
        task=ClipsConfig(file="kitticaltech.h5", frames_in=10, frames_out=1),
        model=SimVPConfig(
            width=64, layers=2, translator=MogaTranslatorConfig(width=256, depth=6, drop_path=(0.01, 0.1))
        ),
        optim=OptimConfig(lr=5e-3, schedule="onecycle"),
        steps=12_700,  # 100 epochs
        batch_size=16,
        validate_every=635,
    )
