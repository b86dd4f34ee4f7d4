import pickle

import numpy as np
import pytest
import torch

from moga_st.data.video.photographs import CIFAR10Config
from moga_st.errors import BadInput

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def rows(seed: int, count: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def write_python(folder):
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        content = {b"batch_label": b"x", b"labels": list(range(12)), b"data": rows(i), b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_binary(folder):
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (folder / f"{name}.bin").write_bytes(np.concatenate([np.full((12, 1), i, np.uint8), rows(i)], 1).tobytes())


def test_both_layouts_are_the_same_images(tmp_path):
    write_python(tmp_path / "a" / "cifar10" / "cifar-10-batches-py")
    write_binary(tmp_path / "b" / "cifar-10-batches-bin")
    one, other = (CIFAR10Config().load(tmp_path / name) for name in "ab")
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(one, split), getattr(other, split))
    assert one.fingerprint == other.fingerprint
    assert (len(one.train), len(one.val), len(one.test)) == (55, 5, 12)
    # red, green, blue one after the other, row by row
    assert one.test[3].flatten().tolist() == rows(5)[3].tolist()
    assert one.val[1].flatten().tolist() == rows(1)[0].tolist()


class Evil:
    def __reduce__(self):
        return (print, ("this ran",))


def test_nothing_in_a_pickle_runs(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    write_python(folder)
    (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(BadInput, match="data_batch_2"):
        CIFAR10Config().load(tmp_path)
    assert "this ran" not in capsys.readouterr().out
    (folder / "data_batch_2").write_bytes(pickle.dumps({b"data": rows(0)[:, :100]}))
    with pytest.raises(BadInput, match=r"data_batch_2: expected uint8 images \(n, 3072\)"):
        CIFAR10Config().load(tmp_path)


def test_cut_binary_files(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder)
    path = folder / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="no whole number of images of 3073"):
        CIFAR10Config().load(tmp_path)
