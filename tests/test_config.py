import ast
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

import moga_st
from moga_st import recipes
from moga_st.config import Config
from moga_st.engine import RunConfig
from moga_st.errors import BadInput
from moga_st.models.moganet import SIZES
from moga_st.models.simvp import MogaTranslatorConfig, SimVPConfig

PACKAGE = Path(moga_st.__file__).parent
# who may import whom: a module imports from its own room, and from the rooms of the lines above its own
LAYERS = [
    ["errors"],
    ["storage"],
    ["config", "shards"],
    ["scores", "spec", "dist", "data.draws", "data.pose.skeleton"],
    ["device", "kernels"],
    ["record"],
    ["data", "models", "metrics", "optim", "checkpoint"],
    ["pretrained", "draw", "analyse"],
    ["convert", "export"],
    ["integrations", "infer"],
    ["tasks"],
    ["engine"],
    ["recipes"],
    ["timing"],
    ["bench_reading"],
    ["bench", "bench_runtimes"],
    ["report"],
    ["cli"],
    ["__main__"],
]
ROOMS = {room: i for i, rooms in enumerate(LAYERS) for room in rooms}


def room(module: str) -> str | None:
    """The most special room that a module (without ``moga_st.``) is in."""
    fitting = [r for r in ROOMS if f"{module}.".startswith(f"{r}.")]
    return max(fitting, key=len, default=None)


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    for_types = {id(n) for block in types for n in ast.walk(block)}  # what nothing needs when it runs
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return {m for m in found if m.startswith("moga_st.")}


def test_imports_go_one_way():
    checked = 0
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if "experiments" in parts or not parts:
            continue
        me = room(".".join(parts))
        assert me is not None, f"{path}: in no layer"
        for other in imports(path):
            there = room(other.removeprefix("moga_st."))
            if there is None or there == me:
                continue  # moga_st.__version__ and the like
            checked += 1
            assert ROOMS[there] < ROOMS[me], f"{path} imports {other}"
    assert checked > 100


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x = 1\ndef config(\n", "line 2: SyntaxError: "),
        (b"import os\n\nos.none\n", "line 3: AttributeError: "),
        (b"def config(a): pass\n", "line 1: TypeError: "),
        (b"\ndef config(): return config()\n", "line 2: RecursionError: "),
        (b"import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        (b"def config():\n    return 1 / 0\n", "line 2: ZeroDivisionError: "),
        ("def config(): pass".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"from moga_st.errors import BadInput\nraise BadInput('task.x: too large')\n", "line 2: task.x: too large"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_at_which_line(content, message, tmp_path):
    path = tmp_path / "r.py"
    path.write_bytes(content)
    with pytest.raises(BadInput) as raised:
        recipes.load(str(path))
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)


def test_only_json_values_are_encoded():
    @dataclass(frozen=True)
    class Odd(Config):
        value: object = object()

    with pytest.raises(TypeError, match="cannot hold object"):
        Odd().to_dict()


def test_a_recipe_for_several_sizes_has_each_by_its_name():
    table = {  # weight decay, drop path, floor of the rate, mixup, average: issue 19's table of the published settings
        "imagenet_deit:xt": (0.03, 0.05, 1e-6, 0.1, 0.0),
        "imagenet_deit:t": (0.04, 0.1, 1e-6, 0.1, 0.0),
        "imagenet_deit:s": (0.05, 0.1, 1e-5, 0.8, 0.9999),
        "imagenet_deit:b": (0.05, 0.2, 1e-5, 0.8, 0.9999),
        "imagenet_deit:l": (0.05, 0.3, 1e-5, 0.8, 0.9999),
        "imagenet_deit:xl": (0.05, 0.4, 1e-4, 0.8, 0.9999),
        "imagenet_deit3:t": (0.04, 0.1, 1e-6, 0.1, 0.0),
        "imagenet_rsb_a3:b": (0.02, 0.2, 1e-6, 0.1, 0.0),
    }
    for name, (decay, drop, floor, mixup, average) in table.items():
        config = recipes.load(name)
        optim, task, model = config.optim, config.task.to_dict(), config.model.to_dict()
        assert (optim.weight_decay, optim.min_lr, optim.ema_decay) == (decay, floor, average)
        assert (model["drop_path"], task["mix"]["mixup"], task["mix"]["cutmix"]) == (drop, mixup, 1.0)
        assert config.name == name.replace(":", "_").removesuffix("_xt")
        size = name.partition(":")[2]
        assert model["widths"] == list(SIZES[size].widths)
    assert recipes.load("imagenet_deit") == recipes.load("imagenet_deit:xt")
    with pytest.raises(BadInput, match="no size 'm' of this recipe; there are xt, t"):
        recipes.load("imagenet_deit3:m")
    with pytest.raises(BadInput, match="no size 'xt' of this recipe; it has none"):
        recipes.load("fashion_mnist:xt")
