"""MogaNet-S with Cascade Mask R-CNN, GIoU heads, on COCO. Published, these or plain heads: 51.4 to 51.7 box mAP."""

_base_ = ["_base_/cascade-mask-rcnn_giou-4conv1fc_ms-3x.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="s",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_small_sz224_8xbs128_ep300.pth.tar"),
    ),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
