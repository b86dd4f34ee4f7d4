"""MogaNet-XT and -T on ImageNet-1k, refined: DeiT III's 3-Augment at 256; the sizes are xt (the default) and t.

Source: arXiv 2211.03295, table A2, arXiv 2204.07118; published top-1: 77.6, 80.0.
Data: ImageNet's folders `train` and `val` in DATA_ROOT/imagenet; 1 % of `train` is held out to choose the weights.
Expected time: days on eight GPUs; not run here.

    torchrun --nproc-per-node 8 -m moga_st train imagenet_deit3:t --precision bfloat16
"""

import dataclasses
from pathlib import Path

from moga_st.data.augment import MixConfig, TimmAugmentConfig
from moga_st.data.images import FolderConfig
from moga_st.engine import RunConfig
from moga_st.models import moganet
from moga_st.optim import OptimConfig
from moga_st.tasks.images import ClassificationConfig

SIZES = ("xt", "t")
EPOCH = 1_281_167 // 1024  # updates


def config(size: str = "xt") -> RunConfig:
    return RunConfig(
        name="imagenet_deit3" if size == "xt" else f"imagenet_deit3_{size}",
        task=ClassificationConfig(
            data=FolderConfig(Path("imagenet"), val_share=0.01),
            augment=TimmAugmentConfig("3a", jitter=0.3),
            mix=MixConfig(mixup=0.1, cutmix=1.0),
            size=256,
            crop=0.9,
        ),
        model=dataclasses.replace(moganet.SIZES[size], drop_path={"xt": 0.05, "t": 0.1}[size], size=256),
        optim=OptimConfig(
            algorithm="adamw",
            lr=2e-3,
            weight_decay={"xt": 0.03, "t": 0.04}[size],
            schedule="cosine",
            min_lr=1e-6,
            warmup=20 / 300,
        ),
        steps=300 * EPOCH,
        batch_size=1024,
        validate_every=5 * EPOCH,
    )
