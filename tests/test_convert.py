import numpy as np
import pytest
import torch

from moga_st import load_model
from moga_st.checkpoint import export_weights
from moga_st.cli import main
from moga_st.config import BadInput
from moga_st.convert import convert


@pytest.fixture
def published(golden):
    data = golden("openstl_simvp_moga_tiny")
    return data, {k[3:]: torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}])
def test_command_line_conversion_gives_a_model_that_predicts_as_published(published, tmp_path, capsys, wrap):
    data, state = published
    torch.save(wrap(state), tmp_path / "in.pth")
    with pytest.raises(SystemExit) as leave:
        main(["convert", "--from", "openstl", str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")])
    assert leave.value.code == 0
    assert f"all {len(state)} keys converted" in capsys.readouterr().out
    with torch.no_grad():
        y = load_model(tmp_path / "out.safetensors")(torch.from_numpy(data["x"]))
    np.testing.assert_allclose(y.numpy(), data["y_eval"], atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: {**s, "enc.extra": torch.ones(1)}, "unexpected enc.extra"),
        (lambda s: {k: v for k, v in s.items() if k != "dec.readout.bias"}, "missing decoder.readout.bias"),
        (lambda s: {**s, "hid.enc.1.block.attn.sigma": torch.ones(1, 8, 1, 1)}, r"sigma is \(1, 8, 1, 1\), expected"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("hid")}, "no SimVP with a MogaNet translator"),
        (lambda _: {"a": torch.ones(1)}, "not of this model or not in this dialect"),
        (lambda s: {k if i else "model." + k: v for i, (k, v) in enumerate(s.items())}, "keys outside 'model.'"),
        (lambda _: {"state_dict": 3}, "holds no state dict"),
    ],
)
def test_what_is_not_accounted_for_is_an_error(published, tmp_path, spoil, message):
    path = tmp_path / "in.pth"
    torch.save(spoil(published[1]), path)
    with pytest.raises(BadInput, match=message):
        convert(path, "openstl")


def test_code_in_a_pickle_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadInput, match="cannot be read as plain tensors"):
        convert(tmp_path / "evil.pth", "openstl")
    assert not (tmp_path / "ran").exists()


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such checkpoint"):
        convert(tmp_path / "none.pth", "openstl")
    (tmp_path / "junk.pth").write_bytes(b"junk" * 100)
    with pytest.raises(BadInput, match=r"junk\.pth: cannot be read"):
        convert(tmp_path / "junk.pth", "openstl")


def test_weights_of_another_model_are_refused(tmp_path, published):
    torch.save(published[1], tmp_path / "in.pth")
    net, config = convert(tmp_path / "in.pth", "openstl")
    del net.decoder.readout.bias  # type: ignore[union-attr]
    net.extra = torch.nn.Parameter(torch.ones(1))
    export_weights(tmp_path / "w.safetensors", net, config, {})
    with pytest.raises(BadInput, match=r"missing decoder\.readout\.bias; unexpected extra"):
        load_model(tmp_path / "w.safetensors")
