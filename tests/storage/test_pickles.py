import collections
import os
import pickle
import struct

import numpy as np
import pytest

from moga_st import storage
from moga_st.errors import BadInput

PLAIN = {
    "a": np.arange(12.0).reshape(3, 4),
    "t": np.array(["x", "yy"]),
    "big": np.arange(5, dtype=">i2"),
    "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "b": np.array([True, False]),
    "e": np.zeros((0, 3)),
    "s": np.float32(2),
}
REST = [1, 2.5, "é\n'", b"q\xff", (1, 2, 3, 4), {1, 2}, frozenset([3]), True, None, 10**30, -5, 300, 70_000, (), [[]]]


def asked(tmp_path, content: bytes):
    path = tmp_path / "p.pkl"
    path.write_bytes(content)
    return storage.read_pickle(path)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])  # as numpy 1 and 2 call it
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_as_python_reads_it(tmp_path, protocol, core):
    shared = np.ones(3)
    given = {**PLAIN, "rest": REST, "o": collections.OrderedDict(x=1), "d": collections.defaultdict(list, y=[2])}
    given |= {"objects": np.array([{"k": 1}, None], object), "two": [shared, shared]}
    given["table"] = np.array([[1, "a", None], [[2], {}, 3]], object)
    raw = pickle.dumps(given, protocol)
    if protocol < 4:  # newer protocols give the lengths of names, so that they cannot be changed so easily
        raw = raw.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    read = asked(tmp_path, raw)
    for key, array in PLAIN.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)
    assert read["rest"] == REST
    assert (read["o"], read["d"], read["objects"]) == ({"x": 1}, {"y": [2]}, [{"k": 1}, None])
    assert read["table"] == [[1, "a", None], [[2], {}, 3]]
    assert read["two"][0] is read["two"][1]


def test_what_python_2_wrote_is_read(tmp_path):
    raw = np.arange(200.0, 203.0).astype("<f8").tobytes()
    text = b"S" + repr(raw)[1:].encode() + b"\n"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I3\ntcnumpy\ndtype\n(S'f8'\nI0\n"
        b"I1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + text + b"tb."
    )
    np.testing.assert_array_equal(asked(tmp_path, array), [200.0, 201.0, 202.0])


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("touch pwned",)), (eval, ("1",)), (getattr, ("x", "upper")), (np.load, ("x",)),
        (np.dtype, ([("a", "f8")],)),
        (np.ndarray, ((10,), np.dtype("f8"), b"x")), (bytes, (10**12,)), (bytearray, (10**12,)), (list, ("ab",)),
        (collections.OrderedDict, ({1: 2},)), (np.array, ([1],)), (dict, ([(1, 2)],)),
    ],
    ids=lambda c: getattr(c[0], "__name__", "x"),
)  # fmt: skip
def test_nothing_that_a_file_names_is_called(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(BadInput, match=r"^[^\n]*p\.pkl: [^\n]*$"):
            asked(tmp_path, pickle.dumps([Evil(*call)], protocol))
    assert [p.name for p in tmp_path.iterdir()] == ["p.pkl"]


class Forged:
    """An array whose pickle says what it likes of itself."""

    def __init__(self, state, dtype_state=None, code="f8"):
        self.state, self.dtype_state, self.code = state, dtype_state, code

    def __reduce__(self):
        reconstruct = np.zeros(1).__reduce__()[0]
        state = tuple(ForgedDtype(self.code, self.dtype_state) if s == "dtype" else s for s in self.state)
        return reconstruct, (np.ndarray, (0,), b"b"), state


class ForgedDtype:
    def __init__(self, code, state):
        self.code, self.state = code, state

    def __reduce__(self):
        return np.dtype, (self.code, False, True), self.state or (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    "forged",
    [
        Forged((1, (10**6,), "dtype", False, b"x" * 80)),
        Forged((1, (-1,), "dtype", False, b"x" * 80)),
        Forged((1, (10**10, 10**10), "dtype", False, b"")),
        Forged((1, (0, 2**70), "dtype", False, b"")),
        Forged((1, (True,), "dtype", False, b"x" * 8)),
        Forged((1, [1], "dtype", False, b"x" * 8)),
        Forged((1, (10,), "dtype", False, b"x" * 80), code="O"),
        Forged((1, (10,), "dtype", False, [1])),
        Forged((1, (1, 2), "dtype", False, [1]), code="O"),
        Forged((1, (1, 1, 1, 1), "dtype", False, [1]), code="O"),
        Forged((1, (10,), "dtype", False, 10**9)),
        Forged((1, (10,), None, False, b"x" * 80)),
        Forged((1, (5,), "dtype", False, b"x" * 80), (3, "|", None, ("a",), {"a": (np.dtype("f8"), 10**9)}, 16, 1, 0)),
        Forged((1, (5,), "dtype", False, b"x" * 80), (3, "<", (np.dtype("f8"), (2,)), None, None, -1, -1, 0)),
        Forged((1, (5,), "dtype", False, b"x" * 80), code="V16"),
        Forged((1, (5,), "dtype", False, b"x" * 40), code="M8"),
        Forged((1, (5,), "dtype", False, b"x" * 80), code="f8,f8"),
        Forged((1, (10,), "dtype", False, b"\xff" * 40), code="U1"),
        Forged(()),
    ],
)
def test_forged_arrays_are_refused(tmp_path, forged):
    for protocol in (2, 4, 5):
        with pytest.raises(BadInput, match=r"p\.pkl: "):
            asked(tmp_path, pickle.dumps({"a": forged}, protocol))


def test_forging_that_is_none_is_an_array(tmp_path):
    array = asked(tmp_path, pickle.dumps(Forged((1, (10,), "dtype", False, b"\0" * 80))))
    np.testing.assert_array_equal(array, np.zeros(10))


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"}", b"N", b"a.", b"]a.", b"0.", b"1.", b"(1.", b"]]a", b"r\xff\xff\xff\xff.", b"h\x00.",
        b"2.", b"\x87.",
        b"X\xff\xff\xff\xffab.", b"\x8d" + b"\xff" * 8 + b".", b"\x8e" + struct.pack("<Q", 2**40) + b".",
        b"L" + b"9" * 9999 + b"L\n.",
        b"\x8b" + struct.pack("<I", 10**6) + b"\x01" * 10**6 + b".", b"I" + b"1" * 70_000, b"(]]d.",
        b"}(K\x01u.", b"Pabc\n.",
        b"]q\x00h\x00a.", b"}q\x00(K\x01h\x00u.", b"\x82\x01.", b"cos\nsystem\n.", b"(ios\nsystem\n.",
        b"(cos\nsystem\no.", b"\x97.",
        b"(" * 10 + b"]" + b"t" * 11, b"]" + b"\x85" * 50_000 + b".", b"K\x01K\x02s.", b"S'abc\n.",
        b"Sabc\n.", b"\xff.", b"K\x01)R.",
        b"\x80\x04" + b"]\x94" + b"(h\x00" * 2 + b"e.",
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path, content):
    with pytest.raises(BadInput, match=r"^[^\n]*p\.pkl: [^\n]*$"):
        asked(tmp_path, content)


def test_what_unfolds_without_end_is_refused(tmp_path):
    content = b"]q\x00" + b"".join(b"(h%ch%cl" % (i, i) + b"q%c" % (i + 1) for i in range(60)) + b"."
    with pytest.raises(BadInput, match="unfolds into more than"):
        asked(tmp_path, content)


def test_integer_keys_whose_hashes_collide_are_refused(tmp_path):
    with pytest.raises(BadInput, match="a key that is too large"):
        asked(tmp_path, pickle.dumps({2**61 - 1: 0}))
