import io
import zipfile

import numpy as np
import pytest

from moga_st import storage
from moga_st.errors import BadInput


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version, allow_pickle=True)
    return out.getvalue()


def headed(text: str, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1") + values


ARRAYS = [
    np.arange(24, dtype=code).reshape(2, 3, 4) for code in ("<i2", ">i4", "u1", "f2", ">f8", "i8")
] + [np.array(3.5), np.zeros((0, 7), np.float32), np.array([True, False]), np.array(["grüße", "b"]), np.array([b"ab"]),
     np.asfortranarray(np.arange(6.0).reshape(2, 3))]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_are_read_as_numpy_reads_them(tmp_path, array):
    for version in ((1, 0), (2, 0), (3, 0)):
        read = storage.parse_npy(npy(array, version), "x")
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    np.testing.assert_array_equal(storage.read_npz(tmp_path / "a.npz", ["a", "b"])["a"], array)
    np.save(tmp_path / "a.npy", array)
    if array.size and array.dtype.kind in "biuf":
        mapped = storage.open_npy(tmp_path / "a.npy")
        np.testing.assert_array_equal(mapped, array)


GOOD = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x93NUMPY", b"PK\x03\x04" + b"0" * 50, headed(GOOD), headed(GOOD, b"0" * 15), headed("("), headed("1"),
        headed(GOOD.replace("(2,)", "(True,)"), b"0" * 16), headed(GOOD.replace("(2,)", "(-1,)")),
        headed(GOOD.replace("(2,)", "(1000000000, 1000000000, 1000000000, 1000000000)")),
        headed(GOOD.replace("(2,)", "(0, 10000000000000000000000)")), headed(GOOD.replace("(2,)", "2")),
        headed(GOOD.replace("(2,)", f"({'1,' * 40})")), headed(GOOD.replace("'<f8'", "[('a', '<f8')]"), b"0" * 16),
        headed(GOOD.replace("<f8", "O"), b"0" * 16), headed(GOOD.replace("<f8", "<M8[s]"), b"0" * 16),
        headed(GOOD.replace("<f8", "V8"), b"0" * 16), headed(GOOD.replace("<f8", "f8,f8"), b"0" * 32),
        headed(GOOD.replace("<f8", "<U1"), b"\xff" * 8), headed(GOOD.replace("<f8", "S0")), headed("[" * 60_000),
        headed(GOOD.replace("False", "0"), b"0" * 16), b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", headed(GOOD[:-3]),
    ],
)  # fmt: skip
def test_what_is_no_array_of_plain_values_is_one_line(tmp_path, content):
    path = tmp_path / "c.npy"
    path.write_bytes(content)
    for read in (storage.read_npy, storage.open_npy):
        with pytest.raises(BadInput, match=r"^[^\n]*c\.npy: [^\n]*$"):
            read(path)


def test_the_header_is_held_against_the_limit(monkeypatch, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(20_000))
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(20_000), b=np.ones(2))
    monkeypatch.setenv("MOGA_ST_MAX_GB", "0.0001")
    with pytest.raises(BadInput, match="raise the limit with MOGA_ST_MAX_GB"):
        storage.read_npy(tmp_path / "a.npy")
    assert storage.open_npy(tmp_path / "a.npy").shape == (20_000,)  # takes no memory
    with storage.open_npz(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file.array("b"), np.ones(2))  # the other one is not looked at
        with pytest.raises(BadInput, match="raise the limit"):
            file.array("a")


def test_zip_files_that_lie_are_refused(tmp_path):
    path = tmp_path / "k.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy(np.zeros(5)))
    with pytest.raises(BadInput, match=r"k\.npz: a\.npy is packed with a method other than deflate"):
        storage.read_npz(path, ["a"])
    np.savez_compressed(path, a=np.zeros(1000))
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    for at, value, said in (
        (central + 8, b"\x01\x00", "is encrypted"),
        (central + 24, (2**31).to_bytes(4, "little"), "larger than its bytes can be"),
        (central + 42, b"\xff\xff\xff\x0f", "cannot be read"),
    ):
        bad = raw.copy()
        bad[at : at + len(value)] = value
        path.write_bytes(bad)
        with pytest.raises(BadInput, match=said):
            storage.read_npz(path, ["a"])
    path.write_bytes(raw[:-30])
    with pytest.raises(BadInput, match=r"cannot be read as \.npz"):
        storage.read_npz(path, ["a"])


def test_pickled_entries_are_plain_data_or_refused(tmp_path):
    path = tmp_path / "p.npz"
    given = {"S1": {"Walking": np.arange(6.0).reshape(2, 3)}}
    np.savez(path, positions=np.array(given, object), plain=np.ones(2))
    with storage.open_npz(path) as file:
        assert file.header("positions").dtype is None
        with pytest.raises(BadInput, match="positions holds Python objects"):
            file.array("positions")
        read = file.value("positions")
        np.testing.assert_array_equal(file.value("plain"), np.ones(2))
        with pytest.raises(BadInput, match=r"has no array 'x'; it has positions, plain"):
            file.value("x")
    assert read.keys() == given.keys()
    np.testing.assert_array_equal(read["S1"]["Walking"], given["S1"]["Walking"])
