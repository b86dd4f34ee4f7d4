"""Mask R-CNN with a feature pyramid on COCO for 12 epochs, as the MogaNet repository's detection trains (mmdet 2.26
there): AdamW 2e-4 (1e-4 for B and L), weight decay 0.05, 2 images on each of 8 GPUs, backbone trained with
attn_force_fp32 off."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["moga_st.integrations.mmdet"])

model = dict(
    backbone=dict(_delete_=True, type="MogaNet", out_indices=(0, 1, 2, 3), norm_cfg=dict(type="BN"), double_silu=False)
)
# 16 images a batch; no weight decay on norms, layer scales and the scales of feature decomposition
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(scale1=dict(decay_mult=0.0), scale2=dict(decay_mult=0.0), sigma=dict(decay_mult=0.0)),
    ),
)
