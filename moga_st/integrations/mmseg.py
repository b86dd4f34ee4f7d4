"""MogaNet as a backbone for mmseg's segmentors.  mmseg is in the extra ``moga-st[mmpose]``.

Importing this module calls :func:`register`, since an import is all that a config can ask for:
``custom_imports = dict(imports=['moga_st.integrations.mmseg'])``, as those under ``experiments/mmseg/`` do.  Import it
before anything of mmseg's.  Where mmseg cannot be imported the import says nothing, and :func:`register` why.
"""

from __future__ import annotations

from moga_st.integrations.mmpose_import import register_backbone, when_installed


def register() -> None:
    """Put MogaNet in mmseg's registry; see :func:`moga_st.integrations.mmpose_import.register_backbone`."""
    register_backbone("mmseg")


when_installed("mmseg", register)
