"""Semantic FPN on ADE20K for 80,000 updates, as the MogaNet repository's segmentation trains (mmseg 0.29 there): AdamW
2e-4, weight decay 1e-4, poly 0.9, 4 images of 512x512 on each of 8 GPUs, backbone trained with attn_force_fp32 off."""

_base_ = [
    "mmseg::_base_/models/fpn_r50.py",
    "mmseg::_base_/datasets/ade20k.py",
    "mmseg::_base_/schedules/schedule_80k.py",
    "mmseg::_base_/default_runtime.py",
]
custom_imports = dict(imports=["moga_st.integrations.mmseg"])

crop_size = (512, 512)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_delete_=True, type="MogaNet", out_indices=(0, 1, 2, 3), norm_cfg=dict(type="BN"), double_silu=False),
    decode_head=dict(num_classes=150),
)
# no weight decay on norms, layer scales and the scales of feature decomposition
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(scale1=dict(decay_mult=0.0), scale2=dict(decay_mult=0.0), sigma=dict(decay_mult=0.0)),
    ),
)
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=80_000, by_epoch=False)]
