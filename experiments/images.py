"""Your own images: a folder with a folder of images for each class.

Source: our own; MogaNet-XT at 224, RandAugment, CutMix, AdamW.
Data: --task.data.folder PATH, below the data root; a tenth of the images validate and a tenth test, chosen by their
names.  Folders `train`, `val` and `test` in it are taken as they are.
Expected time: about 3,000 updates suffice for some thousand images when --init names weights to start from.

    moga-st train images --data-root . --task.data.folder my_images
    moga-st train images --data-root . --task.data.folder my_images --init moganet_xt.safetensors --minutes 30

The weights that --init names may be those of a run of yours, or published ones that `moga-st convert` has read.  A head
of other classes is left out.
"""

from pathlib import Path

from moga_st.data.augment import MixConfig, TimmAugmentConfig
from moga_st.data.images import FolderConfig
from moga_st.engine import RunConfig
from moga_st.models.moganet import MogaNetConfig
from moga_st.optim import OptimConfig
from moga_st.tasks.images import ClassificationConfig


def config() -> RunConfig:
    return RunConfig(
        name="images",
        task=ClassificationConfig(
            data=FolderConfig(Path("images")),
            augment=TimmAugmentConfig("rand-m7-mstd0.5-inc1", erase=0.25),
            mix=MixConfig(cutmix=1.0),
        ),
        model=MogaNetConfig(drop_path=0.05),
        optim=OptimConfig(algorithm="adamw", lr=5e-4, weight_decay=0.03, schedule="cosine", warmup=0.05, clip_norm=5.0),
        steps=3_000,
        batch_size=32,
        validate_every=250,
    )
