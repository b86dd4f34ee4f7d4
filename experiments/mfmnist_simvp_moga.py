"""Moving Fashion-MNIST, SimVP with the MogaNet translator, the published 200-epoch setting.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): as on Moving MNIST.
Published score: MSE 25.14, MAE 99.69, SSIM 0.8960 (data_range 2), PSNR 22.73.
Expected time: not measured yet; it needs a GPU.

    moga-st train mfmnist_simvp_moga
    moga-st eval runs/mfmnist_simvp_moga
"""

from moga_st.data.video.digits import FashionMNISTConfig
from moga_st.engine import RunConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig


def config() -> RunConfig:
    return RunConfig(
        name="mfmnist_simvp_moga",
        task=MovingDigitsConfig(digits=FashionMNISTConfig()),
        model=SimVPConfig(),
        optim=OptimConfig(lr=1e-3, schedule="onecycle"),
        steps=125_000,
        batch_size=16,
        validate_every=6_250,  # 10 epochs
    )
