"""Moving MNIST, SimVP with the MogaNet translator, the published 200-epoch setting.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): 46.777 M parameters, Adam,
OneCycle to 1e-3, batch 16, 200 epochs of 10,000 sequences = 125,000 updates, MSE loss.
Published score: MSE 25.57, MAE 75.19, SSIM 0.9429 (data_range 2), PSNR 22.99.
Expected time: not measured yet; it needs a GPU.

    moga-st train mmnist_simvp_moga
    moga-st eval runs/mmnist_simvp_moga
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.moving_digits import MovingDigitsConfig


def config() -> RunConfig:
    return RunConfig(
        name="mmnist_simvp_moga",
        task=MovingDigitsConfig(),
        model=SimVPConfig(),
        optim=OptimConfig(lr=1e-3, schedule="onecycle"),
        steps=125_000,
        batch_size=16,
        validate_every=6_250,  # 10 epochs
    )
