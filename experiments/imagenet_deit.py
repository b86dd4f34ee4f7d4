"""MogaNet on ImageNet-1k as published: DeiT's recipe, at 224; the sizes are xt (the default), t, s, b, l, xl.

Source: arXiv 2211.03295, table A2; published top-1: 76.5, 79.0, 83.4, 84.3, 84.7, 85.1 (xt and t at 256: 77.2, 79.6).
Data: ImageNet's folders `train` and `val` in DATA_ROOT/imagenet; 1 % of `train` is held out to choose the weights.
Expected time: days on eight GPUs; not run here.

    torchrun --nproc-per-node 8 -m moga_st train imagenet_deit:s --precision bfloat16
    moga-st train imagenet_deit:xt --task.size 256
"""

import dataclasses
from pathlib import Path

from moga_st.data.augment import MixConfig, TimmAugmentConfig
from moga_st.data.images import FolderConfig
from moga_st.engine import RunConfig
from moga_st.models import moganet
from moga_st.optim import OptimConfig
from moga_st.tasks.images import ClassificationConfig

SIZES = tuple(moganet.SIZES)
EPOCH = 1_281_167 // 1024  # updates
DROP_PATH = {"xt": 0.05, "t": 0.1, "s": 0.1, "b": 0.2, "l": 0.3, "xl": 0.4}


def config(size: str = "xt") -> RunConfig:
    small = size in ("xt", "t")
    return RunConfig(
        name="imagenet_deit" if size == "xt" else f"imagenet_deit_{size}",
        task=ClassificationConfig(
            data=FolderConfig(Path("imagenet"), val_share=0.01),
            augment=TimmAugmentConfig(f"rand-m{7 if small else 9}-mstd0.5-inc1", erase=0.25),
            mix=MixConfig(mixup=0.1 if small else 0.8, cutmix=1.0),
            size=224,
            crop=0.9,
        ),
        model=dataclasses.replace(moganet.SIZES[size], drop_path=DROP_PATH[size]),
        optim=OptimConfig(
            algorithm="adamw",
            lr=1e-3,
            weight_decay={"xt": 0.03, "t": 0.04}.get(size, 0.05),
            schedule="cosine",
            min_lr=1e-6 if small else 1e-4 if size == "xl" else 1e-5,
            warmup=5 / 300,
            ema_decay=0.0 if small else 0.9999,
        ),
        steps=300 * EPOCH,
        batch_size=1024,
        validate_every=5 * EPOCH,
    )
