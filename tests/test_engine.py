"""The engine's promises, kept by real processes: exact resume, kills, signals, ranks, full disks."""

import copy
import dataclasses
import fcntl
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from moga_st import checkpoint, load_model, optim, pretrained, recipes
from moga_st.config import ModelConfig
from moga_st.engine import RunConfig, Runtime, budget, precision, train
from moga_st.engine.run import Run, read_jsonl, run_folder
from moga_st.engine.update import Update, seed_of
from moga_st.errors import BadInput, Interrupted, RunFailed
from moga_st.scores import Score, Scores
from moga_st.tasks.task import Setting
from tests.test_checkpoint import limited
from tests.tiny_clips import write_tiny_clips

ROOT = Path(__file__).parents[1]
RECIPE = str(ROOT / "tests" / "tiny.py")
TINY = recipes.load(RECIPE)
CLIPS = str(ROOT / "tests" / "tiny_clips.py")
SHARDED = dataclasses.replace(TINY, shards=2)
MUON = dataclasses.replace(TINY, optim=dataclasses.replace(TINY.optim, algorithm="muon"))


@pytest.fixture
def runtime(tmp_path):
    return Runtime(device="cpu", data_root=tmp_path, runs=tmp_path / "runs", log_every=1, save_every=0.0)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run that was never stopped: its folder."""
    root = tmp_path_factory.mktemp("straight")
    return train(TINY, Runtime(device="cpu", data_root=root, runs=root / "runs", log_every=1))


@pytest.fixture(scope="module")
def straight_from_disk(tmp_path_factory):
    """The same for data that a file holds."""
    root = tmp_path_factory.mktemp("straight_from_disk")
    write_tiny_clips(root)
    return train(recipes.load(CLIPS), Runtime(device="cpu", data_root=root, runs=root / "runs", log_every=1))


@pytest.fixture(params=[RECIPE, CLIPS], ids=["generated", "from a disk"])
def either(request, tmp_path) -> tuple[str, Path]:
    """A recipe, whose data are in ``tmp_path`` by now, and the folder of its undisturbed run elsewhere."""
    if request.param == RECIPE:
        return RECIPE, request.getfixturevalue("straight")
    write_tiny_clips(tmp_path)
    return CLIPS, request.getfixturevalue("straight_from_disk")


def command(folder: Path, *flags: str, recipe: str = RECIPE) -> list[str]:
    common = ["train", recipe, "--device", "cpu", "--data-root", str(folder), "--runs", str(folder / "runs")]
    return [sys.executable, "-m", "moga_st", *common, "--log-every", "1", *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # threads as in this process


def assert_same_run(folder: Path, other: Path) -> None:
    """Weights, average, optimiser and logged values agree to the bit."""
    a, b = (checkpoint.load(f / "last.pt") for f in (folder, other))
    counters = [x.pop("state") for x in (a, b)]
    for counter in counters:
        del counter["seconds"]
    assert counters[0] == counters[1]
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    weights = (pretrained.read_weights(f / "best.safetensors") for f in (folder, other))
    torch.testing.assert_close(*(w.tensors for w in weights), rtol=0, atol=0)
    assert log(folder) == log(other)


def log(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_run_leaves_its_record(straight):
    config = TINY
    record = json.loads((straight / "run.json").read_text())
    assert straight.name == config.digest()
    assert RunConfig.from_dict(record["config"]).to_dict() == config.to_dict()
    assert record["state"]["step"] == config.steps
    assert record["facts"]["digits"].startswith("ellipses")
    assert record["sessions"][0]["versions"]["torch"] == torch.__version__
    assert [line["step"] for line in log(straight) if "loss" in line] == list(range(1, config.steps + 1))
    assert [line["step"] for line in log(straight) if "val/mse" in line] == [6, 12]
    assert list((straight / "tensorboard").glob("events*"))


def test_training_lowers_the_loss_and_exports_the_best_average(straight):
    config = TINY
    lines = log(straight)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    scores = {line["step"]: line["val/mse"] for line in lines if "val/mse" in line}
    weights = pretrained.read_weights(straight / "best.safetensors")
    assert weights.about["best"] == min(scores.values())
    # the exported file really is what was scored
    task = config.task.build(Setting(torch.device("cpu"), straight))
    assert task.evaluate(load_model(straight))["mse"] == pytest.approx(weights.about["best"], rel=1e-5)


def test_the_same_command_does_nothing_more(straight):
    before = (straight / "last.pt").read_bytes(), log(straight)
    root = straight.parents[2]
    assert train(TINY, Runtime(device="cpu", data_root=root, runs=root / "runs", log_every=1)) == straight
    assert ((straight / "last.pt").read_bytes(), log(straight)) == before


@pytest.mark.parametrize(("config", "steps"), [(TINY, 1), (TINY, 5), (TINY, 6), (TINY, 11), (MUON, 5)])
def test_a_signal_saves_and_the_run_goes_on_exactly(straight, runtime, monkeypatch, config, steps):
    """The signal comes in the middle of update ``steps``; the log window is longer than the way there."""
    runtime = dataclasses.replace(runtime, save_every=1e9)
    if config is not TINY:
        straight = train(config, dataclasses.replace(runtime, runs=runtime.runs / "straight"))
    calls = 0
    original = optim.schedule

    def schedule(*args):
        nonlocal calls
        calls += 1
        if calls == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    monkeypatch.setattr(optim, "schedule", schedule)
    with pytest.raises(Interrupted) as stop:
        train(config, runtime)
    assert stop.value.signum == signal.SIGTERM
    assert checkpoint.load(run_folder(config, runtime.runs) / "last.pt")["state"]["step"] == steps
    monkeypatch.setattr(optim, "schedule", original)
    assert_same_run(train(config, runtime), straight)


def test_log_windows_survive_a_stop(runtime, monkeypatch):
    """A loss logged over several updates is their mean even when the run stopped between them."""
    config = dataclasses.replace(TINY, name="windows")
    whole = train(config, dataclasses.replace(runtime, runs=runtime.runs / "whole", log_every=4))
    original, calls = optim.schedule, 0

    def schedule(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(optim, "schedule", schedule)
    runtime = dataclasses.replace(runtime, log_every=4)
    with pytest.raises(Interrupted):
        train(config, runtime)
    assert_same_run(train(config, runtime), whole)


def test_kill_nine_at_any_moment_costs_nothing(either, tmp_path):
    """Real processes, killed at random moments while they save after every update, until one gets through."""
    recipe, straight = either
    folder = tmp_path / "runs" / straight.parent.name / straight.name
    rng, kills = random.Random(0), 0
    env = environment()
    while True:
        before = step_of(folder)
        argv = command(tmp_path, "--save-every", "0", recipe=recipe)
        process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE)
        if kills < 3:
            while process.poll() is None and step_of(folder) <= before:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.15)
            process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, err.decode()
        checkpoint.load(folder / "last.pt")  # whole, whatever happened
        kills += 1
    assert kills >= 1
    assert_same_run(folder, straight)


def step_of(folder: Path) -> int:
    path = folder / "last.pt"
    return checkpoint.load(path)["state"]["step"] if path.exists() else 0


def test_sigint_leaves_with_its_code_and_a_checkpoint(tmp_path):
    folder = tmp_path / "runs" / "tiny"
    process = subprocess.Popen(
        command(tmp_path, "--steps", "100000", "--save-every", "0"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(folder.glob("*/last.pt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped by SIGINT; all is saved" in err


def test_a_signal_before_the_first_update_ends_the_run_in_order(tmp_path):
    code = (
        "import sys, time\nfrom moga_st.engine import budget\nfrom moga_st.cli import main\n"
        "budget.timed = lambda *_: time.sleep(600)\nsys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, *command(tmp_path, "--minutes", "1")[3:]]
    process = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while "trying how many updates fit" not in said:
        said = process.stderr.readline()
        assert said
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "stopped by SIGTERM" in err


def test_two_processes_equal_one(either, tmp_path):
    """torchrun with gloo: same data, global batch statistics, averaged gradients, exact uneven evaluation."""
    recipe, straight = either
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*torchrun, *command(tmp_path, recipe=recipe)[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / straight.parent.name / straight.name
    one, two = (checkpoint.load(f / "last.pt") for f in (straight, folder))
    # Adam divides by the root of tiny squares, so rounding shows where gradients nearly vanish
    torch.testing.assert_close(two["net"], one["net"], rtol=1e-3, atol=2e-4)
    for a, b in zip(log(folder), log(straight), strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key] == pytest.approx(b[key], rel=1e-3), key


@dataclasses.dataclass(frozen=True)
class PlainConfig(ModelConfig):
    """A network without batch statistics, whose gradient over a batch is the mean over its parts."""

    def build(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv3d(4, 4, 3, padding=1), torch.nn.Tanh())


def test_accumulated_parts_give_the_gradient_of_the_whole(runtime, monkeypatch):
    gradients: list[torch.Tensor] = []

    def record(parameters, _):
        gradients.append(torch.cat([p.grad.flatten().clone() for p in parameters]))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    for parts in (1, 2, 4):
        optim = dataclasses.replace(TINY.optim, ema_decay=0.0)
        config = dataclasses.replace(TINY, model=PlainConfig(), optim=optim, accumulate=parts, steps=1)
        train(config, runtime)
    assert gradients[0].abs().max() > 1e-3
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-5, atol=1e-7)


def test_accumulated_parts_are_the_parts_of_the_batch(runtime):
    config = TINY
    task = config.task.build(Setting(torch.device("cpu"), runtime.runs, 0, 4))
    halves = config.task.build(Setting(torch.device("cpu"), runtime.runs, 0, 2))
    whole = task.batch(torch.tensor(3), None)
    for i in range(2):
        for part, full in zip(halves.batch(torch.tensor(6 + i), None), whole, strict=True):
            torch.testing.assert_close(part, full[2 * i : 2 * i + 2], rtol=0, atol=0)


def update_of(config: RunConfig, root: Path, on_device: bool) -> Update:
    task = config.task.build(Setting(torch.device("cpu"), root, config.seed, 2))
    torch.manual_seed(0)
    net = config.model.build()
    average = copy.deepcopy(net).requires_grad_(False)
    optimiser = optim.build(net, config.optim, on_device)
    return Update(config, task, net.train(), net, average, optimiser, Runtime(device="cpu"))


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU: reading a number from a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "reads a tensor on the host"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", [TINY, MUON])
def test_an_update_with_its_numbers_on_the_device_is_the_update_with_numbers(tmp_path, config):
    """What is captured as a CUDA graph, here without one: rates and decays in tensors, the rest compiled."""
    torch.compiler.reset()
    plain, tensors = update_of(config, tmp_path, False), update_of(config, tmp_path, True)
    tensors._rate = torch.zeros(())
    # as inductor would have it, without a C++ compiler
    tensors._optimise = torch.compile(tensors.optimiser.step, backend="aot_eager")
    for number in range(6):
        plain(number, [None, None])
        # a capture comes after so many, and must find everything compiled
        with torch.compiler.set_stance("fail_on_recompile" if number >= Update.EAGER else "default"):
            tensors(number, [None, None])
    assert tensors.lr == plain.lr
    assert isinstance(tensors.optimiser.param_groups[0]["lr"], torch.Tensor)
    for ours, theirs in zip(tensors.net.parameters(), plain.net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(tensors.average.state_dict().values(), plain.average.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_an_update_never_waits_for_the_device(tmp_path):
    update = update_of(TINY, tmp_path, True)
    update._rate, update._optimise = torch.zeros(()), lambda: None  # the optimiser's own is compiled: see above
    with NoWaiting():
        update.body()
    with pytest.raises(AssertionError, match="on the host"), NoWaiting():
        update.loss_sum.item()


def test_a_captured_update_holds_for_every_number(tmp_path):
    """Traced once, as a capture would see it, then replayed: the operations of update 0 are those of update 5."""
    traced, plain = update_of(TINY, tmp_path, True), update_of(TINY, tmp_path, True)
    for update in (traced, plain):
        update._rate, update._optimise = torch.zeros(()), lambda: None
    before = copy.deepcopy(traced.net.state_dict())
    replay = make_fx(lambda: traced.body() or traced.loss_sum)()
    traced.net.load_state_dict(before)
    for update in (traced, plain):
        update.loss_sum.zero_()
        update._number.fill_(5)
        torch.manual_seed(seed_of(0, 5))
        replay() if update is traced else update.body()
    assert plain.loss_sum > 0
    torch.testing.assert_close(traced.loss_sum, plain.loss_sum, rtol=1e-6, atol=0)
    for ours, theirs in zip(traced.net.buffers(), plain.net.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("config", [TINY, MUON])
def test_a_run_with_a_cuda_graph_follows_the_run_without(tmp_path, config):
    folders = []
    for cuda_graph in (False, True):
        runs = tmp_path / str(cuda_graph)
        folders.append(train(config, Runtime("cuda", tmp_path, runs, cuda_graph=cuda_graph, log_every=1)))
    losses = [[line["loss"] for line in read_jsonl(f / "metrics.jsonl") if "loss" in line] for f in folders]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_cuda_graph_without_cuda_is_refused(runtime):
    with pytest.raises(BadInput, match="cuda_graph: needs one process on a CUDA device"):
        train(TINY, dataclasses.replace(runtime, cuda_graph=True))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(runtime, monkeypatch):
    config = dataclasses.replace(TINY, validate_every=4)
    original = TINY.task.build(Setting(torch.device("cpu"), runtime.runs)).__class__.loss
    monkeypatch.setattr(
        "moga_st.tasks.video.VideoPrediction.loss",
        lambda self, net, batch, step: (
            original(self, net, batch, step) * (float("nan") if batch[0].sum() == poison else 1.0)
        ),
    )
    poison = config.task.build(Setting(torch.device("cpu"), runtime.runs, 0, 2)).batch(torch.tensor(15), None)[0].sum()
    runtime = dataclasses.replace(runtime, save_every=1e9, log_every=100)  # found at the next save, not before
    with pytest.raises(RunFailed, match=r"update 8: the loss is not finite; .*last\.pt keeps the last good state"):
        train(config, runtime)
    state = checkpoint.load(run_folder(config, runtime.runs) / "last.pt")
    assert state["state"]["step"] == 4
    assert all(torch.isfinite(v).all() for v in state["net"].values())


def test_a_weight_that_is_not_finite_is_never_saved(runtime, monkeypatch):
    """The loss may be fine and its gradient not."""
    original = Update.__call__

    def spoil(self, number, fetched):
        original(self, number, fetched)
        if number == 7:
            next(self.net.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(Update, "__call__", spoil)
    with pytest.raises(RunFailed, match="update 8: a weight became infinite"):
        train(TINY, runtime)
    state = checkpoint.load(run_folder(TINY, runtime.runs) / "last.pt")
    assert state["state"]["step"] == 7


def test_a_full_disk_stops_the_run_and_loses_nothing(straight, runtime, monkeypatch):
    original, calls = checkpoint.save, 0

    def save(path, state, **options):
        nonlocal calls
        calls += 1
        if calls < 4:
            return original(path, state, **options)
        with limited(5000):
            return original(path, state, **options)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(RunFailed, match=r"cannot be written.*free some space"):
        train(TINY, runtime)
    folder = run_folder(TINY, runtime.runs)
    assert checkpoint.load(folder / "last.pt")["state"]["step"] == 3
    monkeypatch.setattr(checkpoint, "save", original)
    assert_same_run(train(TINY, runtime), straight)


def test_a_disk_full_at_a_log_line_is_named(straight, runtime, monkeypatch):
    original, folder = Run.log, run_folder(TINY, runtime.runs)

    def log_on_a_full_disk(self, step, values, seconds):
        if step < 3:
            return original(self, step, values, seconds)
        with limited((folder / "metrics.jsonl").stat().st_size + 5):
            return original(self, step, values, seconds)

    monkeypatch.setattr(Run, "log", log_on_a_full_disk)
    with pytest.raises(RunFailed, match=r"cannot be written.*free some space"):
        train(TINY, runtime)
    monkeypatch.setattr(Run, "log", original)
    assert_same_run(train(TINY, runtime), straight)


def test_a_run_folder_belongs_to_one_process(runtime):
    folder = run_folder(TINY, runtime.runs)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="going on in another process"):
            train(TINY, runtime)
    train(TINY, runtime)  # free again, also after a run that failed in the middle


def test_weights_that_predict_nonsense_are_never_exported(runtime, monkeypatch):
    monkeypatch.setattr("moga_st.tasks.video.VideoPrediction.evaluate", lambda *_: Scores(Score({"mse": float("nan")})))
    with pytest.raises(RunFailed, match="update 6: validation mse is nan"):
        train(TINY, runtime)
    assert not (run_folder(TINY, runtime.runs) / "best.safetensors").exists()


def test_a_log_line_cut_short_is_mended(straight, runtime):
    config = TINY
    short = dataclasses.replace(runtime, save_every=1e9)
    folder = run_folder(config, runtime.runs)
    train(config, short)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    assert log(train(config, short)) == log(straight)


def test_a_run_is_not_resumed_on_other_data(runtime):
    config = TINY
    folder = train(config, runtime)
    state = checkpoint.load(folder / "last.pt")
    state["state"]["data"] = "0123456789abcdef"
    checkpoint.save(folder / "last.pt", state)
    with pytest.raises(BadInput, match="was trained on other data"):
        train(config, runtime)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1"),
        ({"accumulate": 3}, "batch_size 4 is not divisible by accumulate 3"),
        ({"seed": -1}, "seed: expected 0 or more"),
        ({"name": "../x"}, "it names a folder"),
        ({"optim": {"ema_decay": 1.0}}, r"ema_decay: expected a value in \[0, 1\)"),
        ({"optim": {"lr": 0.0}}, "lr must be positive"),
        ({"task": {"frames_out": 1}}, "frames out: the model has 4, the data 1; leave the model's out"),
    ],
)
def test_fields_out_of_range_are_named(runtime, changes, message):
    def changed() -> RunConfig:
        parts = {k: v for k, v in changes.items() if isinstance(v, dict)}
        replaced = {k: dataclasses.replace(getattr(TINY, k), **v) for k, v in parts.items()}
        return dataclasses.replace(TINY, **{**changes, **replaced})

    with pytest.raises(BadInput, match=message):
        train(changed(), runtime)


def test_bfloat16_trains(runtime):
    lines = log(train(dataclasses.replace(TINY, precision="bfloat16"), runtime))
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    reference = log(train(TINY, runtime))
    assert losses[0] == pytest.approx(reference[0]["loss"], rel=0.02)


def test_seeds_give_different_numbers_for_every_update_and_run():
    """Numbers, not seeds: torch's CPU generator looks at 32 bits of a seed only."""
    first = set()
    for seed in (0, 1, 2, 3, 20240101):
        for index in range(50):
            torch.manual_seed(seed_of(seed, index))
            first.add(torch.rand(2, dtype=torch.float64).tolist()[0])
    assert len(first) == 250


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for CUDA where there is none")
def test_asking_for_cuda_without_one_is_an_error(runtime):
    with pytest.raises(BadInput, match="no usable CUDA device; take cpu"):
        train(TINY, dataclasses.replace(runtime, device="cuda"))
    with pytest.raises(BadInput, match="not a device"):
        train(TINY, dataclasses.replace(runtime, device="tpu9"))


def test_a_sharded_run_learns_what_a_whole_one_does_and_resumes_to_the_bit(runtime, tmp_path):
    config = dataclasses.replace(SHARDED, optim=MUON.optim)
    elsewhere = dataclasses.replace(runtime, runs=tmp_path / "other", save_every=1e9)
    unbroken = train(config, elsewhere)

    class Enough(Exception): ...

    done = 0

    def stop(self, *args, update=Update.__call__):
        nonlocal done
        done += 1
        if done > 5:
            raise Enough
        update(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Update, "__call__", stop)
        with pytest.raises(Enough):
            train(config, runtime)
    resumed = train(config, runtime)
    assert_same_run(resumed, unbroken)
    assert torch.get_num_threads() == int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads()))

    whole = train(dataclasses.replace(MUON, steps=TINY.steps), runtime)
    assert whole != resumed
    for a, b in zip(log(whole), log(resumed), strict=True):
        assert a == pytest.approx(b, rel=2e-3)


def test_the_bits_of_a_sharded_run_do_not_depend_on_the_cores(runtime, tmp_path):
    before = os.sched_getaffinity(0)
    config = dataclasses.replace(SHARDED, steps=3, validate_every=3)
    runs = []
    try:
        for cores in ({min(before)}, before):
            os.sched_setaffinity(0, cores)
            runs.append(train(config, dataclasses.replace(runtime, runs=tmp_path / str(len(cores)))))
    finally:
        os.sched_setaffinity(0, before)
    assert_same_run(*runs)


def test_auto_precision_is_decided_once(runtime, monkeypatch):
    seconds, turns, tried = {"float32": 2.0, "bfloat16": 1.0}, itertools.cycle(["float32", "bfloat16"]), []

    def timed(step, device, timed=precision._seconds):
        timed(step, device)
        tried.append(next(turns))
        return seconds[tried[-1]]

    monkeypatch.setattr(precision, "_seconds", timed)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "has_amx", lambda _: False)
    config = dataclasses.replace(TINY, precision="auto", steps=2, validate_every=1)
    folder = train(config, runtime)
    assert json.loads((folder / "run.json").read_text())["state"]["precision"] == "bfloat16"
    explicit = train(dataclasses.replace(config, precision="bfloat16"), runtime)
    assert log(folder) == log(explicit)  # what was tried left no trace
    assert tried

    tried.clear()
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: False)
    half = checkpoint.load(folder / "last.pt")
    half["state"]["step"] = 1
    checkpoint.save(folder / "last.pt", half)
    train(config, runtime)
    assert json.loads((folder / "run.json").read_text())["state"]["precision"] == "bfloat16"
    assert not tried


@pytest.mark.parametrize(
    ("native", "bfloat16", "chosen"), [(True, 1.0, "bfloat16"), (True, 3.0, "float32"), (False, 1.0, "float32")]
)
def test_bfloat16_has_to_be_native_and_faster(monkeypatch, native, bfloat16, chosen):
    tried: list[str] = []

    def seconds(step, _):
        step()
        return {"float32": 2.0, "bfloat16": bfloat16}[tried[-1]]

    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: native)
    monkeypatch.setattr(precision, "has_amx", lambda _: False)
    monkeypatch.setattr(precision, "_seconds", seconds)
    assert precision.choose("auto", torch.device("cpu"), tried.append) == chosen
    assert set(tried) == ({"float32", "bfloat16"} if native else set())
    assert precision.choose("bfloat16", torch.device("cpu"), tried.append) == "bfloat16"


def test_on_amx_where_torch_has_crashed_bfloat16_is_never_chosen_and_a_wish_is_told(runtime, monkeypatch, capsys):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "has_amx", lambda _: True)
    monkeypatch.setattr(sys.modules[train.__module__], "has_amx", lambda _: True)
    tried: list[str] = []
    monkeypatch.setattr(precision, "_seconds", lambda step, _: {"float32": 2.0, "bfloat16": 1.0}[step()])
    assert precision.choose("auto", torch.device("cpu"), tried.append) == "float32"
    assert not tried  # a crash in a trial would end the program
    for shards in (1, 2):
        train(dataclasses.replace(TINY, precision="bfloat16", steps=1, shards=shards), runtime)
        assert "--precision float32 is safe" in capsys.readouterr().err


def test_a_time_budget_sets_the_updates_once_and_the_schedule_keeps_to_them(runtime, tmp_path, monkeypatch):
    """Updates of 2 s by the clock given here, but for the first ones, and validations of 5 s; a fifth of the minute has
    gone after six."""
    times = iter([0.0, 0.1] * budget.WARM_UP + [0.0, 2.0] * 6 + [0.0, 5.0])
    timed = budget.timed
    monkeypatch.setattr(budget, "timed", lambda *args: timed(*args, clock=lambda: next(times)))
    config = dataclasses.replace(TINY, minutes=1.0)
    folder = train(config, runtime)
    # 57 s are 95 % of it; a score at the end takes 5, and three rounds of 6 updates and a validation take 51
    state = json.loads((folder / "run.json").read_text())["state"]
    assert (state["step"], state["steps"]) == (18, 18)
    assert pretrained.read_weights(folder / "best.safetensors").about["steps"] == 18
    explicit = train(dataclasses.replace(TINY, steps=18), runtime)
    assert explicit != folder
    assert_same_run(folder, explicit)  # what was tried left no trace, and the schedule is that of 18 updates

    # a run that goes on asks no clock
    monkeypatch.setattr(budget, "timed", None)
    part = dataclasses.replace(runtime, runs=tmp_path / "part")
    half = run_folder(config, part.runs)
    half.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_file():
            (half / path.name).write_bytes(path.read_bytes())
    assert train(config, part) == half
    assert json.loads((half / "run.json").read_text())["state"]["steps"] == 18


@pytest.mark.parametrize(
    ("budget_s", "update_s", "validation_s", "every", "steps"),
    [
        (100, 1, 0, 1000, 95),
        (100, 1, 10, 1000, 75),  # a validation at the end, and a score
        (100, 1, 10, 25, 55),  # two rounds of 35 s and the score leave 15 s: 5 updates and a validation
        (100, 1, 10, 20, 55),
        (100, 1, 5, 10, 60),
        (12, 10, 0.1, 5, 1),
    ],
)
def test_updates_and_validations_fit_into_the_budget(budget_s, update_s, validation_s, every, steps):
    got = budget.steps_within(budget_s, update_s, validation_s, every)

    def takes(n: int) -> float:
        return n * update_s + (-(-n // every) + 1) * validation_s

    assert got == steps
    assert takes(got) <= 0.95 * budget_s < takes(got + 1)


def test_a_budget_below_one_update_is_refused():
    with pytest.raises(BadInput, match=r"0\.1 are too few for one update \(4 s\) and its validation \(3 s\); give"):
        budget.steps_within(6, 4, 3, 10)
    with pytest.raises(BadInput, match="minutes: expected more than 0"):
        dataclasses.replace(TINY, minutes=0.0)


def test_shards_must_divide_the_batch_and_are_not_compiled(runtime):
    with pytest.raises(BadInput, match="2 is not divisible by 3 shards"):
        dataclasses.replace(TINY, shards=3)
    with pytest.raises(BadInput, match="take 1 shard"):
        train(SHARDED, dataclasses.replace(runtime, compile=True))
