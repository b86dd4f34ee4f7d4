"""MogaNet-L with RetinaNet on COCO, 12 epochs. Published: 48.7 box mAP."""

_base_ = ["_base_/retinanet_1x.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="l",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_large_sz224_8xbs64_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 160, 320, 640]),
)
