"""What torch.load takes of mmengine's checkpoints, and what of forged ones it refuses."""
# pyright: reportMissingImports=false

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moga_st.integrations.mmengine_checkpoints import plain_numpy
from tests.integrations.test_mmpose import needs_mmpose

RECONSTRUCT: Any = np.zeros(1).__reduce__()[0]
SCALAR: Any = np.float64(0).__reduce__()[0]
EMPTY = (np.ndarray, (0,), b"b")  # the arguments that every array's pickle has
SIMPLE = (None, None, None)  # no subarray, no names, no fields


class Made:
    """Pickles as a call: a function, its arguments and perhaps the state of what it makes."""

    def __init__(self, *parts: Any):
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def save_and_load(value: Any, folder: Path) -> Any:
    torch.save({"x": value}, folder / "a.pth")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(plain_numpy())
    try:
        return torch.load(folder / "a.pth")["x"]  # weights_only, torch's default
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
        np.array(["left", "right"]),
        np.zeros((0, 3), np.uint8),
        np.array(2.5),
    ],
    ids=lambda a: f"{a.dtype.str} {a.shape}",
)
def test_plain_arrays_come_back_and_are_saved_as_numpys_own(tmp_path, array):
    back = save_and_load(array, tmp_path)
    assert (back.dtype, back.shape) == (pickle.loads(pickle.dumps(array)).dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    again = pickle.loads(pickle.dumps(np.append(back, back), protocol=2))
    assert type(again) is np.ndarray
    np.testing.assert_array_equal(again, np.append(array, array))
    assert type(pickle.loads(pickle.dumps(back))) is np.ndarray


@pytest.mark.parametrize("number", [np.float32(0.1), np.int64(-3), np.bool_(True), np.float64("inf")])
def test_numbers_come_back(tmp_path, number):
    back = save_and_load(number, tmp_path)
    assert type(back) is type(number)
    assert back == number


def array_of(code: str, shape: Any, data: Any, state: Any = (3, "<", *SIMPLE, -1, -1, 0)) -> Made:
    return Made(RECONSTRUCT, EMPTY, (1, shape, Made(np.dtype, (code, False, True), state), False, data))


FORGED = {
    "objects": (np.array([{}, None], dtype=object), "of type '.O8?'"),
    "fields": (np.zeros(2, [("a", "i4"), ("b", "f8")]), "a type with fields"),
    "too few bytes": (array_of("f8", (10**9,), b"12345678"), "needs 8,000,000,000 bytes"),
    "too many bytes": (array_of("u1", (2,), b"12345678"), "needs 2 bytes"),
    "a negative shape": (array_of("f8", (-1, -1), b"12345678"), "none that an array can have"),
    "values that are no bytes": (array_of("f8", (1,), [1.0]), "something else than bytes"),
    "a subarray": (array_of("f8", (1,), b"12345678", (3, "<", ("f8", (9,)), None, None, 72, 8, 0)), "a subarray"),
    "a pointer": (Made(SCALAR, (Made(np.dtype, ("O8", False, True)), b"12345678")), "of type"),
    "a short number": (Made(SCALAR, (np.dtype("f8"), b"1234")), "needs 8 bytes"),
    "raw memory": (Made(np.ndarray, ((10**6,),)), "of a shape or memory of its own choice"),
    "many bytes": (Made(bytes, (10**12,)), "bytes that are made of something else"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_arrays_and_numbers_are_refused(tmp_path, name):
    value, message = FORGED[name]
    with pytest.raises(pickle.UnpicklingError, match=f"(?s){message}.*do not trust this file"):
        save_and_load(value, tmp_path)


def test_a_forged_state_changes_no_type_of_numpys(tmp_path):
    forged = array_of("f8", (1,), np.array(1, ">f8").tobytes(), (3, ">", *SIMPLE, 10**6, 1, 63))
    assert save_and_load(forged, tmp_path).tolist() == [1.0]
    assert (np.dtype("f8").itemsize, np.dtype("f8").isnative) == (8, True)


@needs_mmpose
@pytest.mark.filterwarnings("ignore")  # mmengine and mmpose warn of what they themselves use
def test_mmengines_log_loads_and_code_still_does_not(tmp_path):
    from mmengine.logging import HistoryBuffer

    import moga_st.integrations.mmpose  # noqa: F401

    log = HistoryBuffer([1.5, 2.5], [1, 1])
    numbers = {"best": np.float64(0.5), "seed": np.int64(3), "state": np.arange(4, dtype=np.uint32)}
    hub = {"loss": log, "none yet": HistoryBuffer()}
    torch.save({"message_hub": hub, **numbers}, tmp_path / "ok.pth")
    back = torch.load(tmp_path / "ok.pth")  # weights_only, torch's default
    assert back["message_hub"]["loss"].mean() == 2.0
    assert back["message_hub"]["loss"].current() == 2.5
    assert len(back["message_hub"]["none yet"].data[0]) == 0
    assert (back["best"], back["seed"]) == (0.5, 3)
    np.testing.assert_array_equal(back["state"], np.arange(4, dtype=np.uint32))
    for evil in (
        Made(getattr, (HistoryBuffer, "__init__")),
        Made(getattr, (log, "mean")),
        Made(open, (str(tmp_path / "ran"), "w")),
    ):
        torch.save({"x": evil}, tmp_path / "evil.pth")
        with pytest.raises(Exception, match=r"do not trust this file|Weights only load failed"):
            torch.load(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
