"""Our backbones and our data set for mmpose's own runner.  mmpose is the extra ``moga-st[mmpose]``.

:func:`register` puts them in mmpose's registries (see ``mmpose_models.py``, ``mmpose_data.py``) and lets mmengine load
its own checkpoints with today's torch (see ``mmengine_checkpoints.py``)::

    from moga_st.integrations import mmpose

    mmpose.register()

Importing this module calls it too, since an import is all that a config of mmpose's can ask for:
``custom_imports = dict(imports=['moga_st.integrations.mmpose'])``, as those under ``experiments/mmpose/`` do.  Nothing
else of this package imports it.  Where mmpose cannot be imported the import says nothing, and :func:`register` why.
"""

from __future__ import annotations

import importlib

from moga_st.integrations.mmengine_checkpoints import allow_mmengine_checkpoints
from moga_st.integrations.mmpose_import import import_mmpose, when_installed
from moga_st.integrations.mmpose_lifters import (  # recipes of before import them from here
    MMPoseDSTFormerConfig,
    MMPoseSimpleBaselineConfig,
    MMPoseTCNConfig,
)

__all__ = ["MMPoseDSTFormerConfig", "MMPoseSimpleBaselineConfig", "MMPoseTCNConfig", "register"]


def register() -> None:
    """Put our classes in mmpose's registries; once, however often it is called.

    Raises:
        BadInput: mmpose is not installed, or not with versions that work together.
    """
    import_mmpose()
    allow_mmengine_checkpoints()
    for module in ("mmpose_models", "mmpose_data"):
        importlib.import_module(f"moga_st.integrations.{module}")


when_installed("mmpose", register)
