"""The depthwise kernels against their plain definition in float64: every value, every gradient.

One list of cases runs twice: on a GPU, where there is one, and in Triton's interpreter, on any machine.  The
interpreter is chosen by an environment variable that Triton reads when a kernel is defined, and torch.compile
brings Triton in on its own account, so the interpreter gets a process of its own: ``test_in_the_interpreter`` runs
this file there.  Here the cases that need a device are skipped where there is none; there none is.
"""

import collections
import copy
import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moga_st import kernels
from moga_st.kernels import depthwise as module
from moga_st.kernels import depthwise_operators as operators
from moga_st.kernels.depthwise import depthwise, depthwise_gelu, multi_order
from moga_st.models.moga import MogaBlock

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
runs_kernels = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no CUDA device; test_in_the_interpreter runs these in a process of its own",
)
on_gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a CUDA device")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}
"""Of ||result - truth|| / ||truth||: some roundings of the dtype, in which results and gradients are handed over."""


def conv(channels: int, k: int, d: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, k, padding=d * (k // 2), dilation=d, groups=channels)


class Depthwise(nn.Module):
    """One of the three functions with its parameters: ``kind`` is "plain", "gelu" or "orders"."""

    def __init__(self, kind: str, channels: int, k: int = 3, d: int = 1):
        super().__init__()
        self.kind = kind
        if kind == "orders":
            middle, high = 3 * channels // 8, channels // 2
            self.convs = nn.ModuleList([conv(channels, 5, 1), conv(middle, 5, 2), conv(high, 7, 3)])
        else:
            self.convs = nn.ModuleList([conv(channels, k, d)])

    def forward(self, x):
        return {"plain": depthwise, "gelu": depthwise_gelu, "orders": multi_order}[self.kind](x, *self.convs)


def results(net, x, dy):
    """Output, gradient of the input, gradients of the parameters."""
    net.zero_grad()
    x = x.detach().requires_grad_()
    y = net(x)
    y.backward(dy.to(y.dtype))
    return [y.detach(), x.grad, *(p.grad for p in net.parameters())]


def kernel_results(net, x, dy):
    """The same with kernels, fresh memory filled with NaN so that an element nobody writes shows."""
    torch.use_deterministic_algorithms(True)
    try:
        return results(net, x, dy)
    finally:
        torch.use_deterministic_algorithms(False)


def assert_right(net, found, x, dy, dtype):
    """Results against the plain definition in float64 of the same rounded inputs."""
    with kernels.use(False):
        truth = results(copy.deepcopy(net).double(), x.double(), dy.double())
    for name, a, b in zip(["y", "dx", *(n for n, _ in net.named_parameters())], found, truth, strict=True):
        assert a.shape == b.shape, name
        assert torch.isfinite(a).all(), name
        error = (a.double() - b).norm() / b.norm()
        assert error < TOLERANCE[dtype], f"{name}: {error:.1e}"


def draw(*shape):
    """Channels-last, as the models' tensors are."""
    return torch.randn(shape, device=DEVICE).contiguous(memory_format=torch.channels_last)


CASES = [
    # kind, kernel, dilation, (b, c, h, w), dtype
    ("plain", 3, 1, (3, 24, 7, 5), torch.float64),
    ("plain", 3, 1, (1, 136, 5, 3), torch.float32),
    ("plain", 5, 1, (1, 8, 1, 1), torch.float64),
    ("plain", 5, 1, (1, 40, 16, 16), torch.float64),
    ("plain", 5, 2, (3, 24, 7, 5), torch.bfloat16),
    ("plain", 7, 3, (1, 8, 27, 17), torch.float64),
    ("plain", 7, 3, (3, 40, 3, 4), torch.float16),
    ("gelu", 3, 1, (3, 40, 7, 5), torch.float64),
    ("gelu", 3, 1, (1, 24, 16, 16), torch.bfloat16),
    ("gelu", 3, 1, (1, 8, 27, 17), torch.float16),
    ("gelu", 3, 1, (3, 136, 1, 1), torch.float32),
    ("orders", 0, 0, (3, 8, 7, 5), torch.float64),
    ("orders", 0, 0, (1, 40, 4, 5), torch.float32),
    ("orders", 0, 0, (3, 136, 1, 1), torch.float64),
    ("orders", 0, 0, (1, 24, 2, 3), torch.bfloat16),
    ("orders", 0, 0, (1, 8, 3, 2), torch.float16),
]
KINDS = [("plain", 3, 1, (2, 8, 3, 4)), ("gelu", 3, 1, (2, 8, 3, 4)), ("orders", 0, 0, (1, 8, 2, 3))]
KERNELS = ("depthwise", "orders", "depthwise_weights", "orders_weights")


@pytest.fixture
def launches(monkeypatch):
    """Counts the launches of each kernel."""
    from moga_st.kernels import depthwise_triton

    counted = collections.Counter()

    class Counted:
        def __init__(self, name):
            self.name, self.kernel = name, getattr(depthwise_triton, name)

        def __getitem__(self, grid):
            counted[self.name] += 1
            return self.kernel[grid]

    for name in KERNELS:
        monkeypatch.setattr(depthwise_triton, name, Counted(name))
    return counted


@pytest.fixture(autouse=True)
def _setting(monkeypatch):
    torch.manual_seed(0)
    if INTERPRETED:  # it takes milliseconds a tap however large the tile: few and large tiles, but more than one
        monkeypatch.setattr(operators, "_MULTIPROCESSORS", 2)


@runs_kernels
@pytest.mark.parametrize(("kind", "k", "d", "shape", "dtype"), CASES)
def test_values_and_gradients(kind, k, d, shape, dtype):
    net = Depthwise(kind, shape[1], k, d).to(DEVICE, dtype)
    x, dy = draw(*shape).to(dtype), draw(*shape).to(dtype)
    found = kernel_results(net, x, dy)
    assert {a.dtype for a in found} == {dtype}
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert found[1].is_contiguous(memory_format=torch.channels_last)
    assert_right(net, found, x, dy, dtype)


@runs_kernels
@pytest.mark.parametrize(
    ("kind", "k", "d", "shape"),
    [("plain", 3, 1, (2, 40, 9, 13)), ("plain", 7, 3, (1, 8, 30, 4)), ("orders", 0, 0, (1, 8, 40, 3))],
)
def test_many_small_tiles_and_chunks(kind, k, d, shape, monkeypatch):
    """The tiling of a large tensor, cut at every odd place, on a small one; tall maps, so that tiles and chunks skip
    rows of the kernel that they do not touch."""
    monkeypatch.setattr(operators, "_MULTIPROCESSORS", 16)
    monkeypatch.setattr(operators, "_tile", lambda *ranges: {"BLOCK_R": 8, "BLOCK_C": 8})  # noqa: ARG005
    net, x, dy = Depthwise(kind, shape[1], k, d).to(DEVICE), draw(*shape), draw(*shape)
    for conv in net.convs:
        assert isinstance(conv, nn.Conv2d)
        [share], _ = operators._chunks(x, (conv.in_channels, conv.kernel_size[0], conv.dilation[0]))
        assert share.chunks > 1
    assert_right(net, kernel_results(net, x, dy), x, dy, torch.float32)


@runs_kernels
@pytest.mark.parametrize(("kind", "k", "d", "shape"), KINDS)
def test_any_layout_of_input_and_gradient(kind, k, d, shape):
    net, x, dy = Depthwise(kind, shape[1], k, d).to(DEVICE), draw(*shape), draw(*shape)
    expected = kernel_results(net, x, dy)
    every_second = torch.stack([x, -x], -1)[..., 0]
    assert not every_second.is_contiguous()
    for a, b in [(x.contiguous(), dy.contiguous()), (every_second, dy.transpose(2, 3).contiguous().transpose(2, 3))]:
        assert all(map(torch.equal, kernel_results(net, a, b), expected))
    # as a sum's gradient, with stride 0 everywhere
    found = kernel_results(net, x, torch.ones((), device=DEVICE).expand(shape))
    assert all(map(torch.equal, found, kernel_results(net, x, torch.ones_like(dy))))


@runs_kernels
@pytest.mark.parametrize(("kind", "k", "d", "shape"), KINDS)
def test_autocast_runs_in_bfloat16_as_a_convolution_does(kind, k, d, shape):
    net, x, dy = Depthwise(kind, shape[1], k, d).to(DEVICE), draw(*shape), draw(*shape).bfloat16().float()
    with torch.autocast(DEVICE, torch.bfloat16):
        found = kernel_results(net, x, dy)
        with kernels.use(False):
            plain = results(net, x, dy)
    assert [a.dtype for a in found] == [a.dtype for a in plain] == [torch.bfloat16] + [torch.float32] * (len(found) - 1)
    assert_right(net, found, x.bfloat16(), dy, torch.bfloat16)


@runs_kernels
def test_a_block_with_kernels_equals_one_without(launches):
    block, x, dy = MogaBlock(8, ffn_ratio=2).to(DEVICE, torch.float64), draw(2, 8, 2, 3), draw(2, 8, 2, 3)
    for scale in (block.scale1, block.scale2, block.spatial.sigma, block.channel.sigma):
        nn.init.normal_(scale)  # which start so small that nothing else shows
    x, dy = x.double(), dy.double()
    assert_right(block, results(block, x, dy), x, dy, torch.float64)
    assert launches == {"depthwise": 4, "depthwise_weights": 2, "orders": 2, "orders_weights": 1}
    with torch.no_grad():
        y = block.eval()(x)
        launches.clear()
        with kernels.use(False):
            torch.testing.assert_close(y, block(x), rtol=1e-12, atol=1e-12)
    assert not launches


BACKEND = "aot_eager" if INTERPRETED else "inductor"
"""Of torch.compile: inductor on a GPU; in the interpreter what makes the graphs that inductor would get."""


@runs_kernels
def test_training_compiles_as_one_graph(launches):
    torch.compiler.reset()
    net, x, dy = Depthwise("orders", 8).to(DEVICE), draw(1, 8, 2, 3), draw(1, 8, 2, 3)
    model = nn.Sequential(net, Depthwise("gelu", 8).to(DEVICE))
    compiled = torch.compile(model, fullgraph=True, backend=BACKEND)
    with torch.autocast(DEVICE, torch.bfloat16):
        found, expected = results(compiled, x, dy), results(copy.deepcopy(model), x, dy)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert (a - b).norm() / b.norm() < TOLERANCE[torch.bfloat16]
    once = {"depthwise": 4, "depthwise_weights": 2, "orders": 2, "orders_weights": 1}
    assert launches == {name: 2 * count for name, count in once.items()}


@runs_kernels
def test_compiled_inference_follows_the_switch(launches):
    torch.compiler.reset()
    net, x = Depthwise("gelu", 8).to(DEVICE), draw(2, 8, 4, 5)
    compiled = torch.compile(net, fullgraph=True, backend=BACKEND)
    with torch.no_grad():
        y = compiled(x)
        assert launches == {"depthwise": 1}
        with kernels.use(False):
            torch.testing.assert_close(y, compiled(x))
    assert launches == {"depthwise": 1}


@runs_kernels
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # opcheck looks at its own clones
def test_operators_obey_the_rules_of_custom_operators():
    def parameters(c, k):
        return torch.randn(k * k, c, device=DEVICE, requires_grad=True), torch.randn(
            c, device=DEVICE, requires_grad=True
        )

    x, (taps, bias) = draw(1, 8, 2, 1).requires_grad_(), parameters(8, 3)
    (middle, middle_bias), (high, high_bias) = parameters(3, 5), parameters(4, 7)
    y = x.detach()
    opcheck = torch.library.opcheck
    opcheck(operators.depthwise, (x, taps, bias, 1))
    opcheck(operators.depthwise_gelu, (x, taps, bias, 1, True))
    opcheck(operators.orders, (x, middle, middle_bias, high, high_bias, 2, 3))
    taps, middle, high = taps.detach(), middle.detach(), high.detach()
    opcheck(operators.depthwise_gelu, (y, taps, bias.detach(), 1, False))
    opcheck(operators._depthwise_input_gradient, (y, taps, 1))
    opcheck(operators._depthwise_weight_gradient, (y, y, 3, 1))
    opcheck(operators._orders_input_gradient, (y, middle, high, 2, 3))
    opcheck(operators._orders_weight_gradient, (y, y, middle, high, 2, 3))


@runs_kernels
def test_falls_back_where_no_kernel_serves(launches):
    x = draw(1, 8, 6, 6)
    for net in [
        nn.Conv2d(8, 8, 3, padding=1, stride=2, groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 9, padding=4, groups=8),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="circular"),
    ]:
        net.to(DEVICE)
        assert torch.equal(depthwise(x, net), net(x))
        assert torch.equal(depthwise_gelu(x, net), F.gelu(net(x)))
    net = conv(8, 3, 1).to(DEVICE)
    assert depthwise(x[:0], net).shape == (0, 8, 6, 6)
    assert not launches
    with pytest.raises(RuntimeError, match="type"):  # as of a convolution: no silent mixture
        depthwise(x.half(), net)


@on_gpu
@pytest.mark.parametrize(("kind", "k", "d"), [("plain", 3, 1), ("plain", 5, 1), ("gelu", 3, 1), ("orders", 0, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_size_and_captured_in_a_graph(kind, k, d, dtype):
    """At the size of the translator; twice to the same bits; a replayed graph follows its inputs."""
    net = Depthwise(kind, 640, k, d).to(DEVICE, dtype)
    x, dy = draw(16, 640, 16, 16).to(dtype), draw(16, 640, 16, 16).to(dtype)
    once, again = kernel_results(net, x, dy), results(net, x, dy)
    assert all(map(torch.equal, once, again))
    assert_right(net, once, x, dy, dtype)
    fixed_x, fixed_dy = torch.randn_like(x), torch.randn_like(dy)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        results(net, fixed_x, fixed_dy)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    net.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        captured = results(net, fixed_x, fixed_dy)
    fixed_x.copy_(x)
    fixed_dy.copy_(dy)
    graph.replay()
    assert all(map(torch.equal, captured, once))


@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_maps(dtype):
    for kind, k, d, shape in [("plain", 3, 1, (2, 256, 64, 64)), ("orders", 0, 0, (4, 96, 243, 17))]:
        net = Depthwise(kind, shape[1], k, d).to(DEVICE, dtype)
        x, dy = draw(*shape).to(dtype), draw(*shape).to(dtype)
        assert_right(net, kernel_results(net, x, dy), x, dy, dtype)


CPU_CASES = [
    (5, 1, (2, 8, 7, 5), torch.float64),
    (5, 2, (3, 8, 1, 1), torch.float64),
    (5, 2, (3, 24, 5, 9), torch.float32),
    (7, 3, (2, 8, 27, 17), torch.float64),
    (7, 3, (3, 24, 3, 4), torch.float32),
    (7, 3, (2, 8, 16, 16), torch.bfloat16),
    (7, 1, (2, 8, 6, 6), torch.float16),
    (3, 1, (2, 8, 2, 2), torch.float64),
    (3, 1, (3, 24, 1, 5), torch.float32),
    (3, 2, (3, 24, 2, 1), torch.float32),
    (3, 1, (2, 8, 2, 9), torch.bfloat16),
    (3, 1, (2, 8, 1, 1), torch.float16),
]


@pytest.mark.skipif(INTERPRETED, reason="the CPU runs the kernels in this process")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("k", "d", "shape", "dtype"), CPU_CASES)
def test_the_cpus_own_way(k, d, shape, dtype, channels_last, monkeypatch):
    net = Depthwise("plain", shape[1], k, d).to(dtype)
    x, dy = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    if channels_last:
        x, dy = (a.contiguous(memory_format=torch.channels_last) for a in (x, dy))
    assert_right(net, results(net, x, dy), x, dy, dtype)
    assert_right(net, results(net, x, torch.ones((), dtype=dtype).expand(shape)), x, torch.ones_like(dy), dtype)
    called = []
    monkeypatch.setattr(module.depthwise_cpu.Depthwise, "apply", lambda *args: called.append(args))
    net(x)
    assert called, "this went through torch's own convolution"
    with kernels.use(False):
        net(x)
    assert len(called) == 1


@pytest.mark.skipif(INTERPRETED, reason="the CPU runs the kernels in this process")
def test_the_cpus_own_way_in_a_block():
    """Under autocast, and compiled."""
    net, x, dy = Depthwise("orders", 16), torch.randn(2, 16, 9, 7), torch.randn(2, 16, 9, 7)
    assert_right(net, results(net, x, dy), x, dy, torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for a, b in zip(results(compiled, x, dy), results(net, x, dy), strict=True):
        torch.testing.assert_close(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(net, x, dy.bfloat16().float())
        with kernels.use(False):
            plain = results(net, x, dy.bfloat16().float())
    assert [a.dtype for a in found] == [a.dtype for a in plain]
    assert_right(net, found, x, dy, torch.bfloat16)


def test_devices_that_run_kernels(monkeypatch):
    assert module._device_runs(torch.device("cpu")) == INTERPRETED
    assert not module._device_runs(torch.device("meta"))
    for capability, triton, expected in [((9, 0), math, True), ((7, 5), math, False), ((9, 0), None, False)]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)  # noqa: ARG005
        monkeypatch.setitem(sys.modules, "triton", triton)  # None: importing it fails
        assert module._device_runs(torch.device("cuda")) == (expected or torch.version.hip is not None)


needs_triton = pytest.mark.skipif(
    INTERPRETED or importlib.util.find_spec("triton") is None, reason="this platform's torch comes without Triton"
)


@needs_triton
def test_in_the_interpreter():
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout + child.stderr


@needs_triton
def test_compiles_for_an_h100_without_one(monkeypatch):
    """What the interpreter cannot see: that the compiler takes every kernel, with loads of 16 bytes."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from moga_st.kernels import depthwise_triton

    code = {}

    class Compiler:
        """Stands for a kernel; a launch compiles it for its arguments instead."""

        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            def launch(*args, **constants):
                types = {torch.bfloat16: "*bf16", torch.float32: "*fp32", int: "i32"}
                names = self.kernel.arg_names
                found = [types[a.dtype if isinstance(a, torch.Tensor) else type(a)] for a in args]
                signature = dict(zip(names, found, strict=False)) | dict.fromkeys(constants, "constexpr")
                aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(args) if isinstance(a, torch.Tensor)}
                source = ASTSource(self.kernel, signature, constants, aligned)
                code[self.kernel.__name__] = compile(source, GPUTarget("cuda", 90, 32)).asm["ptx"]

            return launch

    for name in KERNELS:
        monkeypatch.setattr(depthwise_triton, name, Compiler(getattr(depthwise_triton, name)))
    x = torch.empty(16, 512, 16, 16, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    middle, high = torch.empty(25, 192), torch.empty(49, 256)
    operators.depthwise_gelu(x, torch.empty(9, 512), torch.empty(512), 1, True)
    operators._depthwise_weight_gradient(x, x, 3, 1)
    operators.orders(x, middle, middle[0], high, high[0], 2, 3)
    operators._orders_weight_gradient(x, x, middle, high, 2, 3)
    assert set(code) == set(KERNELS)
    for name, ptx in code.items():
        loads = [line for line in ptx.splitlines() if "ld.global" in line]
        assert loads, name
        assert all("v4.b32" in line for line in loads), name
