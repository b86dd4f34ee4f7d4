"""MogaNet as a backbone for mmseg's segmentors.  mmseg is in the extra ``moga-st[mmpose]``.

:func:`register` puts it in mmseg's registry, lets mmengine load its own checkpoints with today's torch, and with
mmcv-lite in place of a compiled mmcv has torchvision's operators stand in.  Importing this module calls it, since an
import is all that a config can ask for: ``custom_imports = dict(imports=['moga_st.integrations.mmseg'])``, as those
under ``experiments/mmseg/`` do.  Import it before anything of mmseg's.  Where mmseg cannot be imported the import
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
    """Put MogaNet in mmseg's registry; once, however often it is called.

    Raises:
        BadInput: mmseg is not installed, or not with versions that work together.
    """
    import_whole("mmseg")
    allow_mmengine_checkpoints()
    from mmseg.registry import MODELS

    from moga_st.integrations.mmengine_backbone import MogaNet

    MODELS.register_module(module=MogaNet, force=True)


if importlib.util.find_spec("mmseg") is not None:
    with contextlib.suppress(BadInput):  # one that cannot be imported; register() says why
        register()
