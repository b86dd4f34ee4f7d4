"""The MogaNet core (arXiv 2211.03295): one block, shared by every model in this package.

Shape legend: ``b`` batch, ``c`` channels, ``h w`` grid.  The grid is an image, a feature map of a clip
whose frames are folded into channels, or time x joints; the block never needs to know which.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moga_st import dist
from moga_st.errors import BadInput
from moga_st.kernels import block_cpu
from moga_st.kernels.depthwise import depthwise_gelu, multi_order

LAYER_SCALE_INIT = 1e-5
SIGMA_INIT = 1e-5


class MultiOrderDepthwise(nn.Module):
    """Multi-order depthwise convolution, (b, c, h, w) -> (b, c, h, w); section 4.2 of the paper.

    A 5x5 kernel sees every channel; then the channels split 1 : 3 : 4 into orders: untouched, 5x5 with
    dilation 2, and 7x7 with dilation 3.  A 1x1 convolution mixes the three.
    """

    def __init__(self, channels: int):
        super().__init__()
        middle, high = 3 * channels // 8, channels // 2
        self.dw_low = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.dw_middle = nn.Conv2d(middle, middle, 5, padding=4, dilation=2, groups=middle)
        self.dw_high = nn.Conv2d(high, high, 7, padding=9, dilation=3, groups=high)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(multi_order(x, self.dw_low, self.dw_middle, self.dw_high))


class MultiOrderGatedAggregation(nn.Module):
    """Spatial aggregation, (b, c, h, w) -> (b, c, h, w); equations 4 to 6 of the paper.

    ``double_silu`` is the published ``attn_force_fp32`` switch, which does two things: SiLU goes over the gate and
    the value a second time, and from there to the last projection all is computed in float32 under autocast.  The
    published classifier weights of the OpenMixup family were trained with it.
    """

    def __init__(self, channels: int, double_silu: bool = False):
        super().__init__()
        self.double_silu = double_silu
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.sigma = nn.Parameter(torch.full((1, channels, 1, 1), SIGMA_INIT))
        self.gate = nn.Conv2d(channels, channels, 1)
        self.value = MultiOrderDepthwise(channels)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x  # the inner shortcut carries this module's own (normalised) input
        x = self.proj_in(x)
        x = F.silu(x + self.sigma * (x - x.mean((2, 3), keepdim=True)))
        gate, value = F.silu(self.gate(x)), F.silu(self.value(x))
        if self.double_silu:
            return self._project_twice_gated(gate, value) + shortcut
        return self.proj_out(gate * value) + shortcut

    def _project_twice_gated(self, gate: Tensor, value: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(gate.device.type):
            return self.proj_out(F.silu(gate) * F.silu(value))
        with torch.autocast(gate.device.type, enabled=False):
            return self.proj_out(F.silu(gate.float()) * F.silu(value.float()))


class ChannelAggregationFFN(nn.Module):
    """Channel aggregation, (b, c, h, w) -> (b, c, h, w); equations 7 and 8 of the paper."""

    def __init__(self, channels: int, ratio: float):
        super().__init__()
        hidden = int(channels * ratio)
        self.expand = nn.Conv2d(channels, hidden, 1)
        self.dw = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.decompose = nn.Conv2d(hidden, 1, 1)
        self.sigma = nn.Parameter(torch.full((1, hidden, 1, 1), SIGMA_INIT))
        self.reduce = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = depthwise_gelu(self.expand(x), self.dw)
        x = x + self.sigma * (x - F.gelu(self.decompose(x)))
        return self.reduce(x)


class DropPath(nn.Module):
    """Drops a residual branch for a whole example with probability ``rate`` while training."""

    def __init__(self, rate: float):
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise BadInput(f"drop path rate: expected a value in [0, 1), got {rate}")
        self.rate = rate

    def factors(self, x: Tensor) -> Tensor | None:
        """What each example is multiplied by, (b,): 0 or 1 / (1 - rate); None where all are kept."""
        if self.rate == 0.0 or not self.training:
            return None
        keep = 1.0 - self.rate
        return (dist.rand_over_global_batch(x.shape[0], x.device) < keep).to(x.dtype) / keep

    def forward(self, x: Tensor) -> Tensor:
        factors = self.factors(x)
        return x if factors is None else x * factors.view(-1, *[1] * (x.ndim - 1))


class MogaBlock(nn.Module):
    """``x + s1 A(BN(x))``, then ``x + s2 F(BN(x))``: (b, c, h, w) -> (b, c, h, w).

    Args:
        channels: must be divisible by 8, because the multi-order split is 1 : 3 : 4.
        ffn_ratio: hidden width of the channel-aggregation FFN over ``channels``.
        drop_path: probability of dropping each of the two branches of an example.
        double_silu: see :class:`MultiOrderGatedAggregation`.

    Raises:
        BadInput: ``channels`` is not a positive multiple of 8.
    """

    def __init__(self, channels: int, ffn_ratio: float = 8.0, drop_path: float = 0.0, double_silu: bool = False):
        super().__init__()
        if channels <= 0 or channels % 8:
            raise BadInput(f"a Moga block needs a positive multiple of 8 channels, got {channels}")
        self.norm1 = nn.BatchNorm2d(channels)
        self.spatial = MultiOrderGatedAggregation(channels, double_silu)
        self.scale1 = nn.Parameter(torch.full((1, channels, 1, 1), LAYER_SCALE_INIT))
        self.norm2 = nn.BatchNorm2d(channels)
        self.channel = ChannelAggregationFFN(channels, ffn_ratio)
        self.scale2 = nn.Parameter(torch.full((1, channels, 1, 1), LAYER_SCALE_INIT))
        self.drop_path = DropPath(drop_path)
        self.apply(init_conv)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and block_cpu.serves(self.spatial.double_silu):
            return block_cpu.channel(block_cpu.spatial(x, self), self)
        x = x + self.drop_path(self.scale1 * self.spatial(self.norm1(x)))
        return x + self.drop_path(self.scale2 * self.channel(self.norm2(x)))


def init_conv(module: nn.Module) -> None:
    """Normal(0, sqrt(2 / fan_out)) with the fan-out counted per group; biases start at zero."""
    # on the meta device there is nothing to draw, and torch would import its compiler for it
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
