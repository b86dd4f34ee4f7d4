"""Networks.  They know nothing of data, tasks or training."""

from __future__ import annotations

import torch
from torch import nn

from moga_st.kernels.depthwise import serve


def to_device(net: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network, in place, with its weights in the layout that is the fastest there.

    That is channels-last where the kernels of :mod:`moga_st.kernels` run, which need it.  Elsewhere it is torch's
    own: on the CPU the two differ by a few per cent, either way.
    """
    device = torch.device(device)
    net = net.to(device)
    if serve(device):
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net
