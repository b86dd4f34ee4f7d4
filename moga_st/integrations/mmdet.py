"""MogaNet as a backbone for mmdet's detectors.  mmdet is in the extra ``moga-st[mmpose]``.

Importing this module calls :func:`register`, since an import is all that a config can ask for:
``custom_imports = dict(imports=['moga_st.integrations.mmdet'])``, as those under ``experiments/mmdet/`` do.  Import it
before anything of mmdet's.  Where mmdet cannot be imported the import says nothing, and :func:`register` why.
"""

from __future__ import annotations

from moga_st.integrations.mmpose_import import register_backbone, when_installed


def register() -> None:
    """Put MogaNet in mmdet's registry; see :func:`moga_st.integrations.mmpose_import.register_backbone`."""
    register_backbone("mmdet")


when_installed("mmdet", register)
