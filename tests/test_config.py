import ast
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

import moga_st
from moga_st import recipes
from moga_st.config import BadInput, Config
from moga_st.engine import RunConfig
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig

PACKAGE = Path(moga_st.__file__).parent
# who may import whom: a module imports only from its own layer's left
LAYERS = [
    {"config"},
    {
        "dist",
        "draw",
        "draw_pose",
        "checkpoint",
        "optim",
        "kernels",
        "models",
        "data",
        "metrics",
        "convert",
        "integrations",
        "lifting",
    },
    {"tasks"},
    {"engine"},
    {"recipes", "bench"},
    {"cli"},
    {"__main__"},
]


def layer(module: str) -> int:
    name = module.split(".")[1]
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return {m for m in found if m.startswith("moga_st.")}


def test_imports_go_one_way():
    checked = 0
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if path.name == "__init__.py" or "experiments" in parts:
            continue
        me = ".".join(("moga_st", *parts))
        for other in imports(path):
            if other.split(".")[1] not in set().union(*LAYERS):
                continue  # moga_st.__version__ and the like
            checked += 1
            assert layer(other) <= layer(me), f"{me} imports {other}"
            assert not (parts[0] == "models" and other.startswith("moga_st.data")), f"{me} imports {other}"
    assert checked > 50


def test_every_recipe_survives_json_and_builds():
    assert {"mmnist_demo", "mmnist_simvp_moga", "mfmnist_simvp_moga"} <= set(recipes.names())
    digests = set()
    for name in recipes.names():
        config = recipes.load(name)
        assert config.name == name
        again = RunConfig.from_dict(config.to_dict())
        assert again == config
        assert again.digest() == config.digest()
        digests.add(config.digest())
    assert len(digests) == len(recipes.names())


def test_digest_changes_with_every_nested_field():
    base = recipes.load("mmnist_demo")
    changed = RunConfig.from_dict({**base.to_dict(), "model": {**base.model.to_dict(), "width": 24}})
    assert changed.digest() != base.digest()


def test_whole_numbers_in_float_fields_are_the_same_config():
    whole = dataclasses.replace(SimVPConfig(), translator=MogaTranslatorConfig(ffn_ratio=4, drop_path=(0, 1)))
    point = dataclasses.replace(SimVPConfig(), translator=MogaTranslatorConfig(ffn_ratio=4.0, drop_path=(0.0, 1.0)))
    assert whole.digest() == point.digest()


def test_unknown_field_names_the_nearest():
    data = SimVPConfig().to_dict()
    data["widht"] = data.pop("width")
    with pytest.raises(BadInput, match=r"SimVPConfig has no field 'widht' \(did you mean 'width'\?\)"):
        Config.from_dict(data)


def test_a_file_cannot_name_code_outside_the_package():
    for kind in ("os:system", "subprocess:Popen", "moga_st.config:BadInput", "moga_st.none:X", "", "antigravity:x"):
        with pytest.raises(BadInput, match="unknown config kind"):
            Config.from_dict({"kind": kind})


def test_a_config_of_another_kind_is_refused():
    with pytest.raises(BadInput, match="is not a RunConfig"):
        RunConfig.from_dict(SimVPConfig().to_dict())


def test_unknown_recipes_name_the_nearest(tmp_path):
    with pytest.raises(BadInput, match=r"'mnist_demo' \(did you mean 'mmnist_demo'\?\)"):
        recipes.load("mnist_demo")
    with pytest.raises(BadInput, match="unknown recipe"):
        recipes.load(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(BadInput, match=r"defines config\(\)"):
        recipes.load(str(tmp_path / "empty.py"))


def test_only_json_values_are_encoded():
    @dataclass(frozen=True)
    class Odd(Config):
        value: object = object()

    with pytest.raises(TypeError, match="cannot hold object"):
        Odd().to_dict()
