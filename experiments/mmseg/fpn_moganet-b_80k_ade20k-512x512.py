"""MogaNet-B with Semantic FPN on ADE20K. Published: 49.3 mIoU."""

_base_ = ["_base_/fpn_80k.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="b",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_base_sz224_8xbs128_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 160, 320, 512]),
)
