"""moga_st: spatiotemporal learning on one MogaNet core (arXiv 2211.03295)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load_model"]

if TYPE_CHECKING:
    from moga_st.pretrained import load_model


def __getattr__(name: str) -> Any:
    # lazy, so that `moga-st --help` does not wait for torch
    if name == "load_model":
        from moga_st.pretrained import load_model

        return load_model
    raise AttributeError(f"module 'moga_st' has no attribute {name!r}")
