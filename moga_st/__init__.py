"""moga_st: spatiotemporal learning on one MogaNet core (arXiv 2211.03295)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["lift", "load_model", "predict"]

if TYPE_CHECKING:
    from moga_st.infer.lift import lift
    from moga_st.infer.predict import predict
    from moga_st.pretrained import load_model

_PLACES = {"load_model": "moga_st.pretrained", "predict": "moga_st.infer.predict", "lift": "moga_st.infer.lift"}


def __getattr__(name: str) -> Any:
    # lazy, so that `moga-st --help` does not wait for torch
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'moga_st' has no attribute {name!r}")
