import errno
import json
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from moga_st import checkpoint, load_model, pretrained, storage
from moga_st.errors import BadInput
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig

TINY = SimVPConfig(frames_in=4, width=4, layers=2, translator=MogaTranslatorConfig(width=16, depth=2))


def limited(limit: int):
    """Files may not grow past ``limit`` bytes: writing on fails as it does on a full disk."""

    class Limit:
        def __enter__(self):
            self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self.before[1]))

        def __exit__(self, *_):
            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    return Limit()


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.ones(10)})
    with limited(100_000), pytest.raises(OSError, match="File too large") as raised:
        checkpoint.save(path, {"x": torch.zeros(1_000_000)})
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))  # which torch would not tell
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.ones(10))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def write(part: Path) -> None:
        part.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_atomically(path, write)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_training_state_survives_to_the_bit(tmp_path):
    net = TINY.build()
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 4, 1, 8, 8)).sum().backward()
    optimiser.step()
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "state": {"best": 0.1, "n": None}}
    checkpoint.save(tmp_path / "s.pt", state)
    loaded = checkpoint.load(tmp_path / "s.pt")
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_large_state_is_in_pieces_and_survives_to_the_bit(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    small, large = {"x": torch.zeros(3)}, {"x": torch.arange(50_000), "n": {"best": 0.1}, "y": torch.rand(7, 3)}
    checkpoint.save(path, large)
    whole = path.read_bytes()
    (tmp_path / "last.pt.backup").write_text("the user's")
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    checkpoint.save(path, large)
    first = [tmp_path / n for n in names(tmp_path) if n not in ("last.pt", "last.pt.backup")]
    assert [p.stat().st_size for p in first[:-1]] == [65_536] * (len(whole) // 65_536)
    assert b"".join(p.read_bytes() for p in first) == whole
    torch.testing.assert_close(checkpoint.load(path), large, rtol=0, atol=0)

    large["x"] += 1
    checkpoint.save(path, large)  # in the place of the first, whose pieces go
    torch.testing.assert_close(checkpoint.load(path), large, rtol=0, atol=0)
    assert not any(p.exists() for p in first)
    pieces = [n for n in names(tmp_path) if n not in ("last.pt", "last.pt.backup")]
    assert len(pieces) == len(first)
    with (tmp_path / pieces[1]).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(BadInput, match=rf"{pieces[1]}: this piece of last\.pt, 65,536 bytes, is missing or cut short"):
        checkpoint.load(path)
    (tmp_path / pieces[1]).unlink()
    with pytest.raises(BadInput, match=rf"{pieces[1]}: this piece of last\.pt"):
        checkpoint.load(path)
    checkpoint.save(path, small)
    assert names(tmp_path) == ["last.pt", "last.pt.backup"]
    torch.testing.assert_close(checkpoint.load(path), small)


def test_a_full_disk_amid_the_pieces_leaves_the_old_state(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.ones(50_000)})
    before = names(tmp_path)
    monkeypatch.setattr(checkpoint, "PIECE", 150_000)  # the first piece of this size does not fit
    with limited(100_000), pytest.raises(OSError, match=r"File too large.*last\.pt"):
        checkpoint.save(path, {"x": torch.zeros(50_000)})
    assert names(tmp_path) == before
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.ones(50_000))


@pytest.mark.parametrize("piece", [65_536, 2**20])
@pytest.mark.parametrize("fails", ["write_atomically", "_keep"])
def test_a_disk_that_is_full_after_the_pieces_leaves_the_old_state_and_no_other(tmp_path, monkeypatch, piece, fails):
    monkeypatch.setattr(checkpoint, "PIECE", piece)
    path = tmp_path / "last.pt"
    for value in (1, 2):
        checkpoint.save(path, {"x": torch.full((50_000,), value)}, keep=True)
    before = names(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on the device")

    with monkeypatch.context() as filled:
        filled.setattr(checkpoint, fails, full)
        with pytest.raises(OSError, match="no space"):
            checkpoint.save(path, {"x": torch.zeros(50_000)}, keep=True)
    assert names(tmp_path) == before
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.full((50_000,), 2))


def test_a_kill_amid_the_pieces_leaves_the_old_state_and_the_next_saving_cleans_up(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.ones(50_000)})
    count = len(names(tmp_path))
    with monkeypatch.context() as killed:
        killed.setattr(checkpoint, "write_atomically", lambda *_: 1 / 0)
        killed.setattr(checkpoint._Pieces, "remove", lambda _: None)  # a killed process removes nothing
        with pytest.raises(ZeroDivisionError):
            checkpoint.save(path, {"x": torch.zeros(50_000)})
    assert len(names(tmp_path)) > count
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.ones(50_000))
    checkpoint.save(path, {"x": torch.zeros(50_000)})
    assert len(names(tmp_path)) == count


def test_a_disk_that_breaks_once_the_new_state_is_named_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.ones(50_000)})

    def broken(*_: object) -> int:
        raise OSError("input/output error")

    with monkeypatch.context() as failing:
        failing.setattr("moga_st.storage.writing.flush_folder", broken)  # after the rename
        with pytest.raises(OSError, match="input/output"):
            checkpoint.save(path, {"x": torch.zeros(50_000)})
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.zeros(50_000))


def test_exported_weights_bring_their_config_and_predictions(tmp_path):
    torch.manual_seed(0)
    net = TINY.build().eval()
    x = torch.rand(2, 4, 1, 8, 8)
    pretrained.export_weights(tmp_path / "w.safetensors", net, TINY, {"step": 3})
    weights = pretrained.read_weights(tmp_path / "w.safetensors")
    assert weights.model == TINY
    assert weights.about == {"step": 3}
    loaded = load_model(tmp_path / "w.safetensors")
    assert not loaded.training
    torch.testing.assert_close(loaded.state_dict(), net.state_dict(), rtol=0, atol=0)
    with torch.no_grad():  # the loaded one is laid out in memory for speed, which rounds otherwise
        torch.testing.assert_close(loaded(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_run_folder_stands_for_its_best_weights(tmp_path):
    net = TINY.build()
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
    pretrained.export_weights(tmp_path / "a" / "best.safetensors", net, TINY, {})
    assert pretrained.find_weights(tmp_path / "a") == tmp_path / "a" / "best.safetensors"
    assert pretrained.find_weights(tmp_path) == tmp_path / "a" / "best.safetensors"
    pretrained.export_weights(tmp_path / "b" / "best.safetensors", net, TINY, {})
    with pytest.raises(BadInput, match="holds several runs"):
        pretrained.find_weights(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(BadInput, match=r"no best\.safetensors"):
        pretrained.find_weights(tmp_path / "c")


def test_half_weights_are_half_the_file_and_round_to_eleven_bits(tmp_path):
    net = TINY.build()
    norm = next(m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_var is not None
    norm.running_var.fill_(1e-9)  # nothing, in float16
    for half in (False, True):
        pretrained.export_weights(tmp_path / f"{half}.safetensors", net, TINY, {}, half)
    whole, half = (pretrained.read_weights(tmp_path / f"{k}.safetensors").tensors for k in (False, True))
    for name, value in whole.items():
        if value.squeeze().ndim > 1:
            assert half[name].dtype == torch.float16
            torch.testing.assert_close(half[name].float(), value, rtol=2**-11, atol=1e-7)
        else:
            assert torch.equal(half[name], value)
    loaded = load_model(tmp_path / "True.safetensors").state_dict()
    assert all(v.dtype == whole[k].dtype for k, v in loaded.items())


def test_weights_in_the_package_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    pretrained.export_weights(tmp_path / "lifter_x.safetensors", TINY.build(), TINY, {})
    assert pretrained.find_weights(Path("lifter_x")) == tmp_path / "lifter_x.safetensors"
    with pytest.raises(BadInput, match=r"lifter_y: no such weights file \(did you mean 'lifter_x'\?\)"):
        pretrained.find_weights(Path("lifter_y"))
    # a folder with weights in it comes first; one without is what `eval` wrote of these
    folder = Path("lifter_x")
    folder.mkdir(exist_ok=True)
    (folder / "eval.json").write_text("{}")
    assert pretrained.find_weights(folder) == tmp_path / "lifter_x.safetensors"
    best = folder / "best.safetensors"
    best.write_bytes(b"")
    assert pretrained.find_weights(folder) == best
    best.unlink()
    Path("empty").mkdir(exist_ok=True)
    with pytest.raises(BadInput, match=r"empty: no best\.safetensors in this folder"):
        pretrained.find_weights(Path("empty"))


def test_wrong_files_are_named(tmp_path):
    from safetensors.torch import save_file

    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk" * 50)
    with pytest.raises(BadInput, match=r"junk\.safetensors: not a safetensors file"):
        pretrained.read_weights(junk)
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(BadInput, match="without a moga_st config"):
        pretrained.read_weights(tmp_path / "plain.safetensors")
    with pytest.raises(BadInput, match="no such weights file"):
        pretrained.read_weights(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="no such checkpoint"):
        checkpoint.load(tmp_path / "none.pt")
    whole = tmp_path / "s.pt"
    checkpoint.save(whole, {"x": torch.ones(1000)})
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"cut\.pt: not a readable checkpoint"):
        checkpoint.load(tmp_path / "cut.pt")


def test_every_kind_of_misfit_is_listed():
    net = nn.Linear(2, 3)
    with pytest.raises(BadInput, match=r"missing bias; unexpected extra; weight is \(1,\), expected \(3, 2\)"):
        checkpoint.load_exactly(net, {"weight": torch.ones(1), "extra": torch.ones(1)}, "file")


def test_the_state_before_is_used_where_the_last_one_is_damaged(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    path = tmp_path / "last.pt"
    for i in range(4):
        checkpoint.save(path, {"x": torch.full((50_000,), float(i))}, keep=True)
    count = len(names(tmp_path))
    assert count == 2 * (1 + 4)  # two states, each an index and its pieces
    damaged = sorted(tmp_path.glob("last.pt.*"), key=lambda p: p.stat().st_mtime_ns)[-2]
    raw = bytearray(damaged.read_bytes())
    raw[40_000] ^= 1  # one bit, amid the numbers
    damaged.write_bytes(raw)
    assert checkpoint.load(path)["x"].unique().tolist() == [2.0]
    said = capsys.readouterr().err
    assert f"{damaged}: this piece of last.pt is damaged" in said
    assert "going on from the state before it, last.before.pt" in said
    checkpoint.save(path, {"x": torch.zeros(3)}, keep=True)  # from which training goes on
    assert checkpoint.load(path)["x"].tolist() == [0, 0, 0]
    (tmp_path / "last.before.pt").unlink()
    checkpoint.save(path, {"x": torch.zeros(3)})
    assert names(tmp_path) == ["last.pt"]


def test_a_damaged_state_without_another_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"x": torch.zeros(30_000)})
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadInput, match=r"last\.pt: not a readable"):
        checkpoint.load(path)
    checkpoint.save(path, {"x": torch.zeros(3)}, keep=True)  # the damaged one is kept, and is of no use
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"last\.pt: not a readable"):
        checkpoint.load(path)


def test_an_index_without_digests_loads_and_one_that_leads_elsewhere_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PIECE", 65_536)
    path = tmp_path / "run" / "last.pt"
    path.parent.mkdir()
    checkpoint.save(path, {"x": torch.arange(50_000)})
    index = torch.load(path, weights_only=True)
    torch.save({k: index[k] for k in ("pieces", "bytes")}, path)  # as it was written before there were digests
    torch.testing.assert_close(checkpoint.load(path)["x"], torch.arange(50_000))
    for name in ("../last.pt.0123abcd.000", "/etc/passwd", "other.pt", ["x"]):
        torch.save({**index, "pieces": [name, *index["pieces"][1:]]}, path)
        with pytest.raises(BadInput, match="does not name pieces beside it"):
            checkpoint.load(path)


def stepped():
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW([{"params": [net.weight]}, {"params": [net.bias, nn.Parameter(torch.ones(2))]}])
    net(torch.rand(4, 3)).sum().backward()
    optimiser.step()
    return optimiser


def test_an_optimiser_without_its_state_is_refused():
    optimiser = stepped()
    whole = checkpoint.optimiser_state(optimiser)
    assert whole["stateless"] == [2]  # the weight that nothing used
    checkpoint.load_optimiser(optimiser, whole, "x")
    torch.testing.assert_close(checkpoint.optimiser_state(optimiser), whole, rtol=0, atol=0)
    first = whole["state"][0]
    for spoilt in (
        None,
        {},
        {**whole, "state": {}},
        {**whole, "state": {0: first}},
        {**whole, "state": {**whole["state"], 1: {}}},
        {**whole, "state": {**whole["state"], 0: {**first, "exp_avg": torch.zeros(7)}}},
        {**whole, "state": {**whole["state"], 9: first}},
    ):
        with pytest.raises(BadInput, match=r"^x: .*the optimiser's state"):
            checkpoint.load_optimiser(optimiser, spoilt, "x")


def test_a_network_is_held_against_the_tensors_before_it_is_made():
    tensors = TINY.build().state_dict()
    net = checkpoint.build_exactly(TINY.build, tensors, "x")
    torch.testing.assert_close(net.state_dict(), tensors, rtol=0, atol=0)

    def deep() -> nn.Module:
        return nn.Sequential(*(nn.Linear(1, 1) for _ in range(10**9)))

    with pytest.raises(BadInput, match="asks for more weights than the"):
        checkpoint.build_exactly(deep, tensors, "x")
    with pytest.raises(BadInput, match="not a checkpoint of this Linear"):
        checkpoint.build_exactly(lambda: nn.Linear(10**6, 10**7), tensors, "x")  # 40 TB
    with pytest.raises(BadInput, match="its network cannot be built"):
        checkpoint.build_exactly(lambda: nn.Linear(-1, 2), tensors, "x")


class ReadsItsNumbers(nn.Linear):
    """As mmpose's DSTFormer, which takes rates of dropped paths from a tensor; ``how`` it reads them."""

    def __init__(self, how, width=2):
        super().__init__(width, width)
        self.rates = how(torch.linspace(0, 0.1, 3))


@pytest.mark.parametrize("how", [lambda x: [v.item() for v in x], torch.Tensor.tolist, lambda x: x.numpy().sum()])
def test_a_network_that_reads_its_own_numbers_is_made_too(how):
    tensors = ReadsItsNumbers(how).state_dict()
    net = checkpoint.build_exactly(lambda: ReadsItsNumbers(how), tensors, "x")
    torch.testing.assert_close(net.state_dict(), tensors, rtol=0, atol=0)
    with pytest.raises(BadInput, match="x: not a checkpoint of this ReadsItsNumbers"):
        checkpoint.build_exactly(lambda: ReadsItsNumbers(how, 3), tensors, "x")


def test_weights_of_strangers_are_held_against_reason(tmp_path):
    net, path = TINY.build(), tmp_path / "w.safetensors"
    net.decoder.readout.bias.data[0] = float("nan")  # type: ignore[union-attr]
    pretrained.export_weights(path, net, TINY, {})
    with pytest.raises(BadInput, match=r"w\.safetensors: decoder\.readout\.bias holds NaN"):
        load_model(path)
    tensors = TINY.build().state_dict()
    for change, said in (
        ({"frames_out": 10**9}, r"model\.frames_out is 1e\+09"),
        ({"width": 20_000}, "not a checkpoint of this|cannot be built"),
    ):
        from safetensors.torch import save_file

        config = {"model": {**TINY.to_dict(), **change}, "about": {}}
        save_file(tensors, path, {"moga_st": json.dumps(config)})
        with pytest.raises(BadInput, match=said):
            load_model(path)
