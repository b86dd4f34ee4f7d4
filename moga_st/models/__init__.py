"""Networks.  They know nothing of data, tasks or training."""

from __future__ import annotations

import torch
from torch import nn

from moga_st import kernels


def to_device(net: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network, in place, with its weights in the layout that is the fastest there.

    That is channels-last: oneDNN's depthwise convolutions take half the time in it, and those of
    :mod:`moga_st.kernels` need it. On CUDA without these, cuDNN's are faster channels-first.
    """
    net = net.to(device)
    if torch.device(device).type == "cpu" or kernels.enabled:
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net
