"""Lifting on Human3.6M in VideoPose3D's protocol, as mmpose's own video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m does:
metres in the camera's space relative to the hip, the centre frame of a window around every frame, all takes, mean over
frames.  Ground-truth keypoints, no flip test (mmpose's head has none).

Not comparable with MotionBERT's protocol (_base_/h36m_motionbert.py).
"""

_base_ = ["mmpose::_base_/default_runtime.py"]
custom_imports = dict(imports=["moga_st.integrations.mmpose"])

visualizer = dict(type="Pose3dLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer")
train_cfg = dict(max_epochs=160, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type="ExponentialLR", gamma=0.975, end=80, by_epoch=True)]
auto_scale_lr = dict(base_batch_size=1024)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", save_best="MPJPE", rule="less", max_keep_ckpts=1),
    logger=dict(type="LoggerHook", interval=20),
)

codec = dict(type="VideoPoseLifting", num_keypoints=17, zero_center=True, root_index=0, reshape_keypoints=False)
model = dict(
    type="PoseLifter",
    backbone=dict(type="MogaLifter", arch="xs", frames=27, channels=2, centre_only=True),
    head=dict(
        type="TemporalRegressionHead",
        in_channels=17 * 96,
        num_joints=17,
        loss=dict(type="MPJPELoss"),
        decoder=codec,
    ),
)

pack = dict(
    type="PackPoseInputs",
    meta_keys=("id", "category_id", "target_img_path", "flip_indices", "target_root"),
)
train_pipeline = [
    dict(type="GenerateTarget", encoder=codec),
    # after the codec: mirrored about the image's middle, which 0 is only then
    dict(
        type="RandomFlipAroundRoot",
        keypoints_flip_cfg=dict(center_mode="static", center_x=0.0),
        target_flip_cfg=dict(center_mode="static", center_x=0.0),
        flip_label=True,
    ),
    pack,
]
val_pipeline = [dict(type="GenerateTarget", encoder=codec), pack]

data_root = "data/h36m/"
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="Human36mDataset",
        ann_file="annotation_body3d/fps50/h36m_train.npz",
        seq_len=27,
        causal=False,
        pad_video_seq=True,
        camera_param_file="annotation_body3d/cameras.pkl",
        data_root=data_root,
        data_prefix=dict(img="images/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        type="Human36mDataset",
        ann_file="annotation_body3d/fps50/h36m_test.npz",
        seq_len=27,
        causal=False,
        pad_video_seq=True,
        camera_param_file="annotation_body3d/cameras.pkl",
        data_root=data_root,
        data_prefix=dict(img="images/"),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type="MPJPE", mode="mpjpe"), dict(type="MPJPE", mode="p-mpjpe")]
test_evaluator = val_evaluator
