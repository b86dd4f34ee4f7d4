"""MogaNet-XT on Fashion-MNIST: the published network with a stem that halves 28x28 images in place of quartering them.

Source: our own; crops and flips on the device, AdamW, cosine, weight average.
Data: Fashion-MNIST's idx files in the data root, or Debian's package dataset-fashion-mnist.
Budget: 24 epochs.  Not run yet: one core of a busy machine trained 20 images a second, of which this takes 1.3 million.

    moga-st train fashion_mnist
    moga-st train fashion_mnist --model timm_model --model.name convnext_atto --model.patch-size 2
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
            data=FashionMNISTImagesConfig(), augment=ShiftConfig(erase=8), mix=MixConfig(), size=None, smoothing=0.1
        ),
        model=MogaNetConfig(stem_stride=2, channels=1, classes=10, size=28),
        optim=OptimConfig(
            algorithm="muon", lr=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip_norm=1.0, ema_decay=0.998
        ),
        steps=24 * EPOCH,
        batch_size=128,
        validate_every=EPOCH,
    )
