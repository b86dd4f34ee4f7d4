"""MogaNet-XT on Fashion-MNIST: the published network with a stem that halves 28x28 images in place of quartering them.

Source: our own; small shifts and mirror images on the device, Muon, cosine, weight average.  No smoothed labels,
erasing, mixing or drop path: what is seen thirteen times cannot be learnt by heart.
Data: Fashion-MNIST's idx files in the data root, or Debian's package dataset-fashion-mnist.
Budget: 5,500 updates, 12.8 epochs, just under two hours of two cores; see experiments/README.md.

    moga-st train fashion_mnist --shards 2
    moga-st train fashion_mnist --model timm_model --model.name convnext_atto --model.enlarge 2
"""

from moga_st.data.augment import MixConfig, ShiftConfig
from moga_st.data.images import FashionMNISTImagesConfig
from moga_st.engine import RunConfig
from moga_st.models.moganet import MogaNetConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.images import ClassificationConfig

EPOCH = 55_000 // 128


def config() -> RunConfig:
    return RunConfig(
        name="fashion_mnist",
        task=ClassificationConfig(
            data=FashionMNISTImagesConfig(), augment=ShiftConfig(), mix=MixConfig(), size=None, smoothing=0.0
        ),
        model=MogaNetConfig(stem_stride=2, channels=1, classes=10, size=28),
        optim=OptimConfig(
            algorithm="muon", lr=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip_norm=1.0, ema_decay=0.998
        ),
        steps=5500,
        batch_size=128,
        validate_every=EPOCH,
    )
