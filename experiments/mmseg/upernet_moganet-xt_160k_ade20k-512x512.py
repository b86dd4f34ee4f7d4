"""MogaNet-XT with UperNet on ADE20K. Published: 42.2 mIoU."""

_base_ = ["_base_/upernet_160k.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="xt",
        drop_path_rate=0.05,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_xtiny_sz224_8xbs128_ep300.pth.tar"),
    ),
    decode_head=dict(in_channels=[32, 64, 96, 192]),
    auxiliary_head=dict(in_channels=96),
)
