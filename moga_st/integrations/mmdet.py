"""MogaNet as a backbone for mmdet's detectors.  mmdet is in the extra ``moga-st[mmpose]``.

:func:`register` puts it in mmdet's registry, lets mmengine load its own checkpoints with today's torch, and with
mmcv-lite in place of a compiled mmcv has torchvision's operators stand in.  Importing this module calls it, since an
import is all that a config can ask for: ``custom_imports = dict(imports=['moga_st.integrations.mmdet'])``, as those
under ``experiments/mmdet/`` do.  Import it before anything of mmdet's.  Where mmdet cannot be imported the import
says nothing, and :func:`register` why.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import importlib
import importlib.util

from moga_st.errors import BadInput
from moga_st.integrations.mmengine_checkpoints import allow_mmengine_checkpoints
from moga_st.integrations.mmpose_import import import_whole


def register() -> None:
    """Put MogaNet in mmdet's registry; once, however often it is called.

    Raises:
        BadInput: mmdet is not installed, or not with versions that work together.
    """
    import_whole("mmdet")
    allow_mmengine_checkpoints()
    from mmdet.registry import MODELS

    from moga_st.integrations.mmengine_backbone import MogaNet

    MODELS.register_module(module=MogaNet, force=True)


if importlib.util.find_spec("mmdet") is not None:
    with contextlib.suppress(BadInput):  # one that cannot be imported; register() says why
        register()
