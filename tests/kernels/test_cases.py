import torch
from torch import nn

from moga_st import recipes
from moga_st.kernels.cases import cases


def test_cases_are_the_depthwise_convolutions_of_the_model():
    with torch.device("meta"):
        net = recipes.load("mmnist_simvp_moga").model.build()
    modules = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1]
    found = {(m.in_channels, m.kernel_size[0], m.dilation[0]) for m in modules}
    assert found == {conv for case in cases(16) for conv in case.convs}


def test_bytes_to_move():
    single, multi, gelu = cases(16)[3:]
    assert gelu.name == "depthwise_gelu, 3x3 d1 on 4096"
    tensor = 16 * 512 * 16 * 16 * 2  # bytes, bfloat16
    assert single.bytes(torch.bfloat16) == (2 * tensor, 4 * tensor)
    assert multi.bytes(torch.float32) == (8 * tensor, 16 * tensor)
    assert gelu.bytes(torch.bfloat16) == (24 * tensor, 56 * tensor)
