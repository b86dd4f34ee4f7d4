"""Human3.6M's videos, 4 frames in, 4 out, at 256x256.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): Adam, cosine from 1e-3,
batch 16, 50 epochs of 4,587 updates, drop path 0.1, MSE loss.
Data: `moga-st data prepare human36m_video SRC`; its card is datasets/human36m_video/README.md.
Published score: MSE 109.1, MAE 1446.4, SSIM 0.9834, PSNR 34.05, LPIPS 0.0316 (BGR there, RGB here).
Expected time: not measured yet; it needs a GPU.

    moga-st train human36m_video
    moga-st eval runs/human36m_video
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.clips import ClipsConfig


def config() -> RunConfig:
    return RunConfig(
        name="human36m_video",
        task=ClipsConfig(file="human36m_video.h5", frames_in=4, frames_out=4),
        model=SimVPConfig(
            width=64, layers=4, translator=MogaTranslatorConfig(width=256, depth=6, drop_path=(0.01, 0.1))
        ),
        optim=OptimConfig(lr=1e-3, schedule="cosine"),
        steps=229_350,  # 50 epochs
        batch_size=16,
        validate_every=9_174,
    )
