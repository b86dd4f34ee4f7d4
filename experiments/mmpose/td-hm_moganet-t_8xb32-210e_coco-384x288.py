"""MogaNet-T on COCO at 384x288, top-down heatmaps. Published: 75.7 AP (mmpose 0.29, flip test, boxes of 56.4 AP)."""

_base_ = ["_base_/coco_384x288.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="t",
        drop_path_rate=0.15,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_tiny_sz224_8xbs128_ep300.pth.tar"),
    ),
    head=dict(in_channels=256),
)
