"""MogaNet-L with Cascade Mask R-CNN and GIoU heads on COCO."""

_base_ = ["_base_/cascade-mask-rcnn_giou-4conv1fc_ms-3x.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="l",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_large_sz224_8xbs64_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 160, 320, 640]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
