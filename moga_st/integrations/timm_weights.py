"""timm's classifiers with their weights, by name.  Needs timm: ``pip install 'moga-st[images]'``."""
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config
from timm.models import create_model, is_model, list_models
from torch import Tensor, nn

import moga_st.integrations.timm  # noqa: F401  (our names in timm's registry)
from moga_st.checkpoint import load_exactly
from moga_st.data.augment import Look
from moga_st.errors import BadInput, nearest
from moga_st.storage import read_safetensors, read_torch


def load_timm(name: str, file: Path | None = None) -> tuple[nn.Module, tuple[str, ...], Look]:
    """A classifier of timm's, in evaluation mode, the names of its classes (ImageNet's synsets, or their numbers), and
    how it sees an image.

    Args:
        name: as timm has it, ``convnext_atto`` or ``convnext_atto.d2_in1k``.
        file: its state dict (.safetensors, or what torch.save or timm's training writes); if left out, the pretrained
            weights that timm fetches or has fetched before.

    Raises:
        BadInput: no such model, weights that do not fit, or that cannot be had.
    """
    if not is_model(name):
        raise BadInput(f"timm has no model {name!r}{nearest(name.partition('.')[0], list_models())}")
    net: Any  # what timm's models have beyond torch's
    if file is None:
        try:
            net = create_model(name, pretrained=True)
        except Exception as error:  # whatever the client of timm's store raises without a network
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise BadInput(
                f"{name}: timm cannot get its pretrained weights ({first}); name a file of them: timm:{name}@FILE"
            ) from error
    else:
        tensors = _state_dict(file)
        net = create_model(name)
        head = tensors.get(f"{net.pretrained_cfg['classifier']}.weight")
        if head is not None and len(head) != net.num_classes:
            net = create_model(name, num_classes=len(head))
        load_exactly(net, tensors, file)
    subset = infer_imagenet_subset(net) if net.num_classes == 1000 else None
    classes = ImageNetInfo(subset).label_names() if subset else [f"class {i}" for i in range(net.num_classes)]
    how = resolve_data_config(model=net)
    side = how["input_size"][1]
    return net.eval(), tuple(classes), Look(side, side, how["crop_pct"], tuple(how["mean"]), tuple(how["std"]))


def _state_dict(file: Path) -> dict[str, Tensor]:
    content = read_safetensors(file)[0] if file.suffix == ".safetensors" else read_torch(file, strangers=True)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise BadInput(f"{file}: holds no state dict")
    return tensors
