"""MogaNet on ImageNet-1k in 100 epochs: RSB's recipe A3; the sizes are xt (the default), t, s, b.

Source: arXiv 2211.03295, table A2, arXiv 2110.00476; trained at 160, tested at 224; published top-1: 72.8, 75.4, 81.1,
82.2.
Data: ImageNet's folders `train` and `val` in DATA_ROOT/imagenet; 1 % of `train` is held out to choose the weights.
Expected time: a day on eight GPUs; not run here.

    torchrun --nproc-per-node 8 -m moga_st train imagenet_rsb_a3:s --precision bfloat16
"""

import dataclasses
from pathlib import Path

from moga_st.data.augment import MixConfig, TimmAugmentConfig
from moga_st.data.images import FolderConfig
from moga_st.engine import RunConfig
from moga_st.models import moganet
from moga_st.optim import OptimConfig
from moga_st.tasks.images import ClassificationConfig

SIZES = ("xt", "t", "s", "b")
EPOCH = 1_281_167 // 2048  # updates


def config(size: str = "xt") -> RunConfig:
    return RunConfig(
        name="imagenet_rsb_a3" if size == "xt" else f"imagenet_rsb_a3_{size}",
        task=ClassificationConfig(
            data=FolderConfig(Path("imagenet"), val_share=0.01),
            augment=TimmAugmentConfig("rand-m6-mstd0.5-inc1"),
            mix=MixConfig(mixup=0.1, cutmix=1.0),
            size=160,
            test_size=224,
            crop=0.95,
            loss="bce",
        ),
        model=dataclasses.replace(moganet.SIZES[size], drop_path={"xt": 0.05, "t": 0.1, "s": 0.1, "b": 0.2}[size]),
        optim=OptimConfig(algorithm="lamb", lr=6e-3, weight_decay=0.02, schedule="cosine", min_lr=1e-6, warmup=5 / 100),
        steps=100 * EPOCH,
        batch_size=2048,
        validate_every=5 * EPOCH,
    )
