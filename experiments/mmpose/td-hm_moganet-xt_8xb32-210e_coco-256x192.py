"""MogaNet-XT on COCO at 256x192, top-down heatmaps. Published: 72.1 AP (mmpose 0.29, flip test, boxes of 56.4 AP)."""

_base_ = ["_base_/coco_256x192.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="xt",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_xtiny_sz224_8xbs128_ep300.pth.tar"),
    ),
    head=dict(in_channels=192),
)
