"""MogaNet-S with Semantic FPN on ADE20K. Published: 47.7 mIoU."""

_base_ = ["_base_/fpn_80k.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="s",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_small_sz224_8xbs128_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
