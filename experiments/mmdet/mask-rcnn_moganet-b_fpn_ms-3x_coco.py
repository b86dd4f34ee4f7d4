"""MogaNet-B with Mask R-CNN on COCO, 36 epochs with several scales."""

_base_ = ["_base_/mask-rcnn_ms-3x.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="b",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_base_sz224_8xbs128_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 160, 320, 512]),
)
