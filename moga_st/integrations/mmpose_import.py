"""Importing mmpose, mmdet and mmseg: quietly, with mmcv-lite in place of a compiled mmcv, and with one line where it
cannot be done."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from moga_st.errors import BadInput
from moga_st.integrations.mmcv_operators import OPERATORS
from moga_st.integrations.mmengine_checkpoints import allow_mmengine_checkpoints


def import_mmpose() -> tuple[types.ModuleType, types.ModuleType]:
    """``mmpose.models.backbones`` and ``mmpose.models.heads``.

    Raises:
        BadInput: mmpose is not installed, or not with versions that work together.
    """
    with importing("this model"):
        importlib.import_module("mmpose")
        with mmcv_ops():
            backbones, heads = map(importlib.import_module, ("mmpose.models.backbones", "mmpose.models.heads"))
        importlib.import_module("mmpose.datasets")
    return backbones, heads


def register_backbone(package: str) -> None:
    """Put MogaNet in the registry of mmdet or mmseg, whole with its data sets, models and metrics; let mmengine load
    its own checkpoints with today's torch; and with mmcv-lite in place of a compiled mmcv have torchvision's operators
    stand in.  Once, however often it is called.

    Raises:
        BadInput: the package is not installed, or not with versions that work together.
    """
    with importing("this backbone", package=package):
        importlib.import_module(package)
        with mmcv_ops():
            for part in ("datasets", "engine", "evaluation", "models", "visualization"):
                importlib.import_module(f"{package}.{part}")
    allow_mmengine_checkpoints()
    from moga_st.integrations.mmengine_backbone import MogaNet

    registry: Any = importlib.import_module(f"{package}.registry")
    registry.MODELS.register_module(module=MogaNet, force=True)


def when_installed(package: str, register: Callable[[], None]) -> None:
    """``register()`` where the package is installed; where it then cannot be imported, nothing: whatever is built of it
    will say why."""
    if importlib.util.find_spec(package) is not None:
        with contextlib.suppress(BadInput):
            register()


def in_scope() -> contextlib.AbstractContextManager[None]:
    """Inside, what mmpose builds by a short name is mmpose's own, whatever other package's runner ran before."""
    scope: Any = importlib.import_module("mmengine.registry").DefaultScope
    return scope.overwrite_default_scope("mmpose")


@contextlib.contextmanager
def importing(what: str, otherwise: str = "", package: str = "mmpose") -> Iterator[None]:
    """Inside, ``package`` can be imported without the warnings of its parts.

    Raises:
        BadInput: it cannot; with what needs it, how to install it, and what to do ``otherwise``.
    """
    try:
        with warnings.catch_warnings():  # about optional parts of mmcv and mmdet, which nothing here uses
            warnings.simplefilter("ignore")
            yield
    except (ImportError, AssertionError, ValueError) as error:  # what mmpose and its parts raise for wrong versions
        raise BadInput(
            f"{what} needs {package}, which cannot be imported ({error}); install it with: "
            f"pip install 'moga-st[mmpose]'{otherwise}"
        ) from error


@contextlib.contextmanager
def mmcv_ops() -> Iterator[None]:
    """Inside, ``from mmcv.ops import Name`` works with mmcv-lite too.

    mmpose, mmdet and mmseg import every model they have, and some name operators that mmcv-lite lacks.  What detectors
    need is there by torchvision's operators (:mod:`moga_st.integrations.mmcv_operators`); the other names become
    classes that cannot be instantiated.  The stand-in is gone afterwards, so that other packages see mmcv as it is;
    with a compiled mmcv there is none.
    """
    if importlib.util.find_spec("mmcv._ext") is not None:
        yield
        return
    names = ["mmcv.ops", *(f"mmcv.ops.{n}" for n in ("nms", "roi_align", "carafe", "merge_cells"))]
    names.append("mmcv.ops.modulated_deform_conv")
    # where mmdet looks for this one, which mmcv leaves out when it finds no operators
    attention = importlib.import_module("mmcv.cnn.bricks.transformer"), "MultiScaleDeformableAttention"
    sys.modules.update({name: _StandIn(name) for name in names})
    setattr(*attention, getattr(sys.modules["mmcv.ops"], attention[1]))
    try:
        yield
    finally:
        delattr(*attention)
        for name in names:
            del sys.modules[name]


class _StandIn(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for __path__, __file__, __wrapped__ ...: there are none
            raise AttributeError(name)
        if name in OPERATORS:
            return OPERATORS[name]
        return type(name, (_MissingOperator,), {})


class _MissingOperator(nn.Module):
    def __init__(self, *_arguments: object, **_named: object):
        raise ImportError(f"{type(self).__name__} needs the compiled mmcv; mmcv-lite is installed")
