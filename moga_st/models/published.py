"""What was published of MogaNet on ImageNet-1k (arXiv 2211.03295, table 2 and A-tables), to hold our own counts
against.  The accuracies are others' measurements: nothing here was trained on ImageNet by this project."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One published network at one size of images."""

    size: str
    """By the paper's letters, as :data:`moga_st.models.moganet.SIZES` has them."""
    side: int
    """Pixels of the images' side."""
    params_m: float
    """Millions of parameters."""
    macs_g: float
    """Thousands of millions of multiply-adds, which the paper calls FLOPs."""
    top1: dict[str, float]
    """Per cent, by training recipe: deit, deit3 (refined, 3-Augment), rsb_a3 (trained at 160)."""


IMAGENET = [
    Published("xt", 224, 2.97, 0.80, {"deit": 76.5, "rsb_a3": 72.8}),
    Published("xt", 256, 2.97, 1.04, {"deit": 77.2, "deit3": 77.6}),
    Published("t", 224, 5.20, 1.10, {"deit": 79.0, "rsb_a3": 75.4}),
    Published("t", 256, 5.20, 1.44, {"deit": 79.6, "deit3": 80.0}),
    Published("s", 224, 25.3, 4.97, {"deit": 83.4, "rsb_a3": 81.1}),
    Published("b", 224, 43.9, 9.93, {"deit": 84.3, "rsb_a3": 82.2}),
    Published("l", 224, 82.5, 15.9, {"deit": 84.7}),
    Published("xl", 224, 180.8, 34.5, {"deit": 85.1}),
]
COUNTING_RULE = (
    "MACs: multiply-adds of convolutions and matrix products for one example; norms, activations, pooling and "
    "pointwise products count as nothing, which is why they lie up to 2.3 % below the published figures"
)
