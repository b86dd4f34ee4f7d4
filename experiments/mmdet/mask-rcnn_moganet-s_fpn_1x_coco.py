"""MogaNet-S with Mask R-CNN on COCO, 12 epochs. Published: 46.6 box mAP, 42.2 mask mAP."""

_base_ = ["_base_/mask-rcnn_1x.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="s",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_small_sz224_8xbs128_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
