"""MNIST-CIFAR, SimVP with the MogaNet translator, the published 200-epoch setting.

Source: OpenSTL's configuration of SimVP + MogaNet (arXiv 2306.11249, 2211.03295): as on Moving MNIST, OneCycle to 5e-3.
Data: MNIST and CIFAR-10, datasets/cifar10/README.md.
Published score: MSE 49.48, MAE 184.11, SSIM 0.9521.
Expected time: not measured yet; it needs a GPU.

    moga-st train mmnist_cifar
    moga-st eval runs/mmnist_cifar
"""

from moga_st.engine import RunConfig
from moga_st.models.simvp import SimVPConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.mnist_cifar import MNISTCIFARConfig


def config() -> RunConfig:
    return RunConfig(
        name="mmnist_cifar",
        task=MNISTCIFARConfig(),
        model=SimVPConfig(),
        optim=OptimConfig(lr=5e-3, schedule="onecycle"),
        steps=125_000,  # 200 epochs
        batch_size=16,
        validate_every=6_250,
    )
