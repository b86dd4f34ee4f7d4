"""MogaNet-T with UperNet on ADE20K. Published: 43.7 mIoU."""

_base_ = ["_base_/upernet_160k.py"]

_weights = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"
model = dict(
    backbone=dict(
        arch="t",
        drop_path_rate=0.1,
        init_cfg=dict(type="Pretrained", checkpoint=_weights + "moganet_tiny_sz224_8xbs128_ep300.pth.tar"),
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256]),
    auxiliary_head=dict(in_channels=128),
)
