"""MogaNet-L with UperNet on ADE20K. Published: 50.9 mIoU."""

_base_ = ["_base_/upernet_160k.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="l",
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_large_sz224_8xbs64_ep300.pth.tar"),
    ),
    decode_head=dict(in_channels=[64, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)
