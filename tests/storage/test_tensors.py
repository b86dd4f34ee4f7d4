import argparse
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moga_st import storage
from moga_st.errors import BadInput


def state():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.rand(5, 3)).sum().backward()
    optimiser.step()
    kinds = {str(d): torch.ones(3).to(d) for d in (torch.float16, torch.bfloat16, torch.uint8, torch.bool, torch.int64)}
    views = {"t": torch.rand(3, 4).T, "step": torch.arange(10)[1::2], "none": torch.empty(0), "one": torch.tensor(3.5)}
    rest = {"size": (1, 2), "number": np.float64(3.5), "p": torch.nn.Parameter(torch.ones(2))}
    return {"net": net.state_dict(), "optimiser": optimiser.state_dict(), **kinds, **views, **rest, "n": [None, 1, 2.5]}


@pytest.mark.parametrize("new", [True, False])
def test_checkpoints_are_read_as_torch_reads_them(tmp_path, new):
    path = tmp_path / "a.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=new)
    torch.testing.assert_close(storage.read_torch(path), state(), rtol=0, atol=0)
    torch.save({"dtype": torch.float16, "device": torch.device("cuda:1")}, path, _use_new_zipfile_serialization=new)
    assert storage.read_torch(path) == {"dtype": torch.float16, "device": "cuda:1"}
    torch.save(state(), path, _use_new_zipfile_serialization=new)
    with path.open("rb") as file:
        torch.testing.assert_close(storage.read_torch(file), state(), rtol=0, atol=0)


@pytest.mark.parametrize("new", [True, False])
def test_tensors_that_share_memory_share_it(tmp_path, new):
    x = torch.arange(6.0)
    torch.save({"a": x, "b": x[2:]}, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    read = storage.read_torch(tmp_path / "a.pth")
    read["a"][3] = 100.0
    assert read["b"].tolist() == [2, 100, 4, 5]


@pytest.mark.parametrize("new", [True, False])
def test_other_code_is_refused_or_inert(tmp_path, new):
    path = tmp_path / "a.pth"
    torch.save({"args": argparse.Namespace(lr=1), "x": torch.ones(2)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(BadInput, match=r"asks for argparse\.Namespace, which is no plain data"):
        storage.read_torch(path)
    read = storage.read_torch(path, strangers=True)
    assert torch.equal(read["x"], torch.ones(2))
    assert (read["args"].name, read["args"].state) == ("argparse.Namespace", {"lr": 1})


@pytest.mark.parametrize("new", [True, False])
def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path, new):
    path = tmp_path / "a.pth"
    for tensor in (torch.ones(1).expand(10**6), torch.ones(1).expand(10**9, 10**9), torch.ones(3, 1).expand(3, 2)):
        torch.save({"x": tensor}, path, _use_new_zipfile_serialization=new)
        with pytest.raises(BadInput, match="larger than its bytes"):
            storage.read_torch(path)


def test_legacy_files_that_announce_more_than_they_hold_take_no_memory(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"x": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    at = raw.index(b"cpu") + 3
    assert b"K\x03" in raw[at:]
    at = raw.index(b"K\x03", at)
    path.write_bytes(raw[:at] + b"\x8a\x05\0\0\0\0\x40" + raw[at + 2 :])
    with pytest.raises(BadInput, match="declares more numbers"):
        storage.read_torch(path)


def test_packed_entries_are_held_against_the_limit(tmp_path, monkeypatch):
    plain = io.BytesIO()
    torch.save({"x": torch.zeros(10**6)}, plain)
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert path.stat().st_size < 20_000
    assert storage.read_torch(path)["x"].shape == (10**6,)
    monkeypatch.setenv("MOGA_ST_MAX_GB", "0.001")
    with pytest.raises(BadInput, match="raise the limit"):
        storage.read_torch(path)


@pytest.mark.parametrize("new", [True, False])
def test_damage_is_one_line(tmp_path, new):
    path = tmp_path / "a.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=new)
    raw = path.read_bytes()
    for content in (b"", b"PK\x03\x04", raw[: len(raw) // 2], raw[:-3], raw[:100], b"\x80\x02}." + raw, b"junk" * 99):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"^[^\n]*a\.pth: [^\n]*$"):
            storage.read_torch(path)


def test_safetensors_are_held_against_their_bytes(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.arange(6.0).view(2, 3)}, path, {"k": "v"})
    tensors, metadata = storage.read_safetensors(path)
    assert torch.equal(tensors["x"], torch.arange(6.0).view(2, 3))
    assert metadata == {"k": "v"}
    raw = path.read_bytes()
    for content in (
        b"", raw[:5], raw[:-1], (10**12).to_bytes(8, "little") + raw[8:], raw.replace(b"[2,3]", b"[9,9]"),
        raw.replace(b"F32", b"F99"), raw.replace(b"[0,24]", b"[0,99]"), raw[:8] + b"[" * (len(raw) - 8),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"^[^\n]*a\.safetensors: [^\n]*$"):
            storage.read_safetensors(path)


def test_more_tensors_than_any_network_has_are_refused(tmp_path):
    header = json.dumps({f"x{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_001)})
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(BadInput, match=r"w\.safetensors: has 50,001 tensors, expected at most 50,000"):
        storage.read_safetensors(path)
