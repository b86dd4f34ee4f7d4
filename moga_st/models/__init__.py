"""Networks.  They know nothing of data, tasks or training."""

from __future__ import annotations

import torch
from torch import nn

from moga_st import kernels
from moga_st.kernels.depthwise import serve


def to_device(net: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network, in place, with its weights in channels-last where :mod:`moga_st.kernels` are on.

    That is the layout that the GPU's kernels need, and the one in which the CPU's library runs 1x1 and depthwise
    convolutions fastest.
    """
    device = torch.device(device)
    net = net.to(device)
    if serve(device) or (kernels.enabled and device.type == "cpu"):
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net
