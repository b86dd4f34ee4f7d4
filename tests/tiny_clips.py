"""The tiny recipe on data from a disk: clips of noise in a prepared file, which :func:`write_tiny_clips` writes."""

import dataclasses
from pathlib import Path

import numpy as np

from moga_st import recipes
from moga_st.data.video.prepared_clips import SPLITS, write_clips
from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig
from moga_st.tasks.clips import ClipsConfig


def write_tiny_clips(root: Path) -> None:
    """``clips.h5`` in ``root``, the same bytes of frames wherever it is written: three clips to train on."""
    rng = np.random.default_rng(1)
    with write_clips(root / "clips.h5", "noise", "none", ("red", "green"), fps=25) as writer:
        for i, (split, n) in enumerate((("train", 14), ("train", 9), ("train", 12), ("val", 12), ("test", 9))):
            assert split in SPLITS
            writer.add_clip(split, f"clip {i}", rng.integers(0, 256, (n, 12, 16, 2), np.uint8))


def config() -> RunConfig:
    # 20 windows for 48 draws: more than two rounds, whose ends fall within batches; 7 to validate on, so that two
    # processes have unequal shares
    return dataclasses.replace(
        recipes.load(str(Path(__file__).parent / "tiny.py")),
        name="tiny_clips",
        task=ClipsConfig(frames_in=4, frames_out=2, eval_batch=4, augment=("flip_x", "flip_y")),
        model=SimVPConfig(
            width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2, ffn_ratio=2, drop_path=(0.2, 0.2))
        ),
    )
