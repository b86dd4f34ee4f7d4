import gzip
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from moga_st import storage
from moga_st.errors import BadInput


def test_only_ordinary_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer for ever
    for path, said in (
        (tmp_path / "pipe", "is a device, pipe or socket"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "a\0b", "cannot be the name of a file"),
    ):
        for read in (storage.read_bytes, storage.read_text, storage.read_json, storage.read_npy, storage.open_npz,
                     storage.read_pickle, storage.read_torch, storage.read_safetensors,
                     storage.file_digest):  # fmt: skip
            with pytest.raises(BadInput, match=said):
                read(path)
        with pytest.raises(BadInput, match=said), storage.open_hdf5(path):
            pass
    with pytest.raises(BadInput, match="device"):
        storage.read_bytes(type(tmp_path)("/dev/zero"))


def test_files_beyond_the_limit_are_refused_before_they_are_read(tmp_path, monkeypatch):
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(10**12)  # takes no space
    monkeypatch.setenv("MOGA_ST_MAX_GB", "0.5")
    for read in (storage.read_bytes, storage.read_json, storage.read_pickle, storage.read_torch):
        with pytest.raises(BadInput, match=r"big: .*limit is 0\.5 GB|big: .*at most"):
            read(big)
    for bad in ("much", "-1", "nan", "0", "inf"):
        monkeypatch.setenv("MOGA_ST_MAX_GB", bad)
        with pytest.raises(BadInput, match="MOGA_ST_MAX_GB"):
            storage.max_bytes()


def test_text_is_utf8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"\xef\xbb\xbfgr\xc3\xa9y")
    assert storage.read_text(path) == "gréy"
    path.write_bytes(b"gr\xe9y")
    with pytest.raises(BadInput, match="is not UTF-8"):
        storage.read_text(path)
    assert storage.read_text(path, errors="replace") == "gr\N{REPLACEMENT CHARACTER}y"


@pytest.mark.parametrize(
    "text",
    [
        "[1e999]", "[-1E+999]", "[Infinity]", "[-Infinity]", "[NaN]", "[18446744073709551616]",
        "[-9223372036854775809]",
        "[" + "9" * 400 + "]", "[" + "9" * 5000 + "]", "[" * 100_000, '{"a":' * 100_000, "[1,]", "", "\0", "[1] 2",
    ],
)  # fmt: skip
def test_json_that_no_standard_has_is_refused(text):
    with pytest.raises(BadInput, match=r"^k\.json: "):
        storage.parse_json(text.encode(), "k.json")


def test_json_numbers_are_read_to_the_last_digit():
    text = '{"a": [0.1234567890123456789, 1e308, 18446744073709551615, -9223372036854775808, 1e-999], "b": "NaN"}'
    assert storage.parse_json(text.encode(), "x") == {
        "a": [0.12345678901234568, 1e308, 2**64 - 1, -(2**63), 0.0],
        "b": "NaN",
    }
    [value] = storage.parse_json(b"[NaN]", "x", nan=True)
    assert value != value
    with pytest.raises(BadInput, match="Infinity is no JSON"):
        storage.parse_json(b"[Infinity]", "x", nan=True)


def test_gzip_is_unpacked_within_bounds():
    content = os.urandom(1000) * 50
    raw = gzip.compress(content)
    assert storage.unpack_gzip(raw, "x") == content
    assert storage.unpack_gzip(raw + gzip.compress(b"more"), "x", 10**6) == content + b"more"
    for bad in (raw[:-1], raw[:200], b"\x1f\x8bjunk", raw[:50] + b"\0\0\0" + raw[53:]):
        with pytest.raises(BadInput, match=r"^x: "):
            storage.unpack_gzip(bad, "x")
    bomb = gzip.compress(bytes(10**8))
    with pytest.raises(BadInput, match="more than 1,000,000 bytes"):
        storage.unpack_gzip(bomb, "x", 10**6)


def test_what_moves_the_cursor_is_spelt_out():
    assert storage.escape("a\x1b[2Jb\nc\u202ed\x9b\x7f\ud800") == "a\\x1b[2Jb\\nc\\u202ed\\x9b\\x7f\\ud800"
    assert storage.escape("grüße 日本 a\nb\tc\r", lines=True) == "grüße 日本 a\nb\tc\\r"


def test_what_unpacks_to_far_more_than_its_bytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("MOGA_ST_MAX_GB", raising=False)
    monkeypatch.setattr("moga_st.storage.reading._UNPACKED_FREE", 2**20)
    npz, pth = tmp_path / "a.npz", tmp_path / "a.pth"
    storage.save_npz(npz, {"zeros": np.zeros(2**18), "noise": np.random.default_rng(0).random(2**18)}, compress=True)
    torch.save({"x": torch.zeros(2**19)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(pth, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with storage.open_npz(npz) as file:
        assert file.array("noise").shape == (2**18,)
        with pytest.raises(BadInput, match=r"a\.npz: zeros\.npy would unpack from 0\.0 MB to 0\.0 GB; if you trust it"):
            file.array("zeros")
    with pytest.raises(BadInput, match=r"a\.pth: .* would unpack"):
        storage.read_torch(pth)
    assert not storage.read_torch(tmp_path / "plain.pth")["x"].any()
    monkeypatch.setenv("MOGA_ST_MAX_GB", "1")
    assert not storage.read_torch(pth)["x"].any()
    assert not storage.read_npz(npz, ["zeros"])["zeros"].any()


def test_an_array_is_read_without_a_second_copy_of_it(tmp_path):
    storage.save_npz(tmp_path / "a.npz", {"x": np.arange(2**21, dtype=np.int64)}, compress=True)  # 16 MB
    tracemalloc.start()
    try:
        found = storage.read_npz(tmp_path / "a.npz", ["x"])["x"]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, np.arange(2**21))
    assert most < 1.5 * found.nbytes
