"""mmengine 0.10's checkpoints under torch's safe loading.  Allowed by ``moga_st.integrations.mmpose.register``.

Since torch 2.6 ``torch.load`` refuses every name in a file that is not on a list.  mmengine's checkpoints name its log
and numpy's arrays and numbers.  numpy's own functions are no match for a forged file (a dtype's state, a number's bytes
or an array's arguments can point anywhere), so those names lead to functions and classes of this module, which hold
what the file says against the bytes it has.
"""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from moga_st.storage.arrays import build_array, plain_dtype


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read what mmengine writes beside tensors: its log, and plain numpy arrays and numbers.

    Anything else it refuses as before, and now also in what mmengine downloads.  Safe to call again.
    """
    history = importlib.import_module("mmengine.logging").HistoryBuffer

    def statistic(owner: object, name: str) -> object:
        # how pickle refers to the methods that a HistoryBuffer carries with it; the real getattr would reach anything
        if owner is not history or name not in ("min", "max", "current", "mean"):
            raise pickle.UnpicklingError(f"asks for the attribute {name!r} of {owner!r}; do not trust this file")
        return getattr(history, name)

    torch.serialization.add_safe_globals([history, (statistic, "builtins.getattr"), *plain_numpy()])
    # what a config names by URL goes through this function alone, which by itself unpickles whatever comes
    checkpoints: Any = importlib.import_module("mmengine.runner.checkpoint")
    checkpoints.load_url = functools.partial(torch.hub.load_state_dict_from_url, weights_only=True)


def plain_numpy() -> list[Any]:
    """For torch's list: pairs of what is called and the name in a file, numpy's, in whose place it is."""
    functions: list[tuple[Callable[..., Any], str]] = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")  # numpy 1 and 2
        for function, name in ((_empty, "_reconstruct"), (_number, "scalar"))
    ]
    return [(CheckedArray, "numpy.ndarray"), (PlainType, "numpy.dtype"), (_no_bytes, "builtins.bytes"), *functions]


class PlainType:
    """A dtype as a file describes it: booleans, integers, floats or strings."""

    def __init__(self, code: Any, *_: Any):
        self._code, self._order = code, ""

    def __setstate__(self, state: Any) -> None:
        parts: list[Any] = list(state) if isinstance(state, tuple) else []
        if parts[2:5] != [None, None, None] or parts[1] not in ("<", ">", "|", "="):
            raise _refusal("a type with fields, a subarray or an unknown byte order")
        self._order = parts[1]

    def dtype(self) -> np.dtype:
        code = self._code.lstrip("<>=|") if isinstance(self._code, str) else self._code
        try:
            return plain_dtype(f"{self._order}{code}" if isinstance(code, str) else code)
        except ValueError as error:
            raise _refusal(str(error)) from error


class CheckedArray(np.ndarray):
    """A numpy array whose state, when it comes from a file, is held against its bytes.  It is saved as any other."""

    def __new__(cls, *arguments: Any) -> CheckedArray:
        if arguments:
            raise _refusal("an array of a shape or memory of its own choice")
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:  # type: ignore[override]
        parts: list[Any] = list(state) if isinstance(state, tuple) else []
        if len(parts) not in (4, 5):
            raise _refusal("an array with an unknown state")
        shape, kind, fortran, data = parts[-4:]
        value = _checked(kind, shape, data, bool(fortran))
        order = "F" if fortran else "C"
        super().__setstate__((1, value.shape, value.dtype, bool(fortran), value.tobytes(order)))  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _checked(kind: Any, shape: Any, data: Any, fortran: bool = False) -> np.ndarray:
    if not isinstance(kind, PlainType):
        raise _refusal("an array or a number without a type")
    dtype = kind.dtype()
    if not isinstance(data, bytes):
        raise _refusal("values in something else than bytes")
    try:
        return build_array(dtype, shape, data, fortran)
    except ValueError as error:
        raise _refusal(str(error)) from error


def _empty(*_: Any) -> CheckedArray:
    """numpy's ``_reconstruct``: an empty array, whose state follows."""
    return CheckedArray()


def _number(kind: Any, data: Any = b"") -> Any:
    """numpy's ``scalar``."""
    return _checked(kind, (), data)[()]


def _no_bytes(*arguments: Any) -> bytes:
    """What an empty array holds is written as ``bytes()``; an argument could ask for any amount of memory."""
    if arguments:
        raise _refusal("bytes that are made of something else")
    return b""


def _refusal(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"it has {what}; do not trust this file")
