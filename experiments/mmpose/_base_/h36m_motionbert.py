"""Lifting on Human3.6M in MotionBERT's protocol, as mmpose's own motionbert_dstformer-243frm_8xb32-240e_h36m does:
normalised 2.5D poses of all frames of a window, made millimetres by a factor of the ground truth, predicted root set to
zero, three takes of S9 left out, mean over frames.  Ground-truth keypoints, flip test.

Not comparable with VideoPose3D's protocol (_base_/h36m_videopose3d.py), nor with a result of `moga-st eval` unless its
`family` is motionbert.
"""

_base_ = ["mmpose::_base_/default_runtime.py"]
custom_imports = dict(imports=["moga_st.integrations.mmpose"])

visualizer = dict(type="Pose3dLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer")
train_cfg = dict(max_epochs=240, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01),  # the lifter's own rate; the transformer has 2e-4
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type="ExponentialLR", gamma=0.99, end=120, by_epoch=True)]
auto_scale_lr = dict(base_batch_size=256)
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", save_best="MPJPE", rule="less", max_keep_ckpts=1),
    logger=dict(type="LoggerHook", interval=20),
)

train_codec = dict(type="MotionBERTLabel", num_keypoints=17, concat_vis=True, mode="train")
val_codec = dict(type="MotionBERTLabel", num_keypoints=17, concat_vis=True, rootrel=True)
model = dict(
    type="PoseLifter",
    backbone=dict(type="MogaLifter", arch="xs", frames=243, channels=3),
    head=dict(
        type="MotionRegressionHead",
        in_channels=96,
        out_channels=3,
        embedding_size=96,
        loss=dict(type="MPJPEVelocityJointLoss"),
        decoder=val_codec,
    ),
    test_cfg=dict(flip_test=True),
)

pack = dict(
    type="PackPoseInputs",
    meta_keys=("id", "category_id", "target_img_path", "flip_indices", "factor", "camera_param"),
)
train_pipeline = [
    dict(type="GenerateTarget", encoder=train_codec),
    dict(
        type="RandomFlipAroundRoot",
        keypoints_flip_cfg=dict(center_mode="static", center_x=0.0),
        target_flip_cfg=dict(center_mode="static", center_x=0.0),
        flip_label=True,
    ),
    pack,
]
val_pipeline = [dict(type="GenerateTarget", encoder=val_codec), pack]

data_root = "data/h36m/"
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="Human36mDataset",
        ann_file="annotation_body3d/fps50/h36m_train.npz",
        seq_len=1,
        multiple_target=243,
        multiple_target_step=81,
        camera_param_file="annotation_body3d/cameras.pkl",
        data_root=data_root,
        data_prefix=dict(img="images/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        type="Human36mDataset",
        ann_file="annotation_body3d/fps50/h36m_test.npz",
        seq_len=1,
        seq_step=1,
        multiple_target=243,
        camera_param_file="annotation_body3d/cameras.pkl",
        data_root=data_root,
        data_prefix=dict(img="images/"),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

left_out = ["S9_Greet", "S9_SittingDown", "S9_Wait_1", "S9_Greeting", "S9_Waiting_1"]
val_evaluator = [
    dict(type="MPJPE", mode="mpjpe", skip_list=left_out),
    dict(type="MPJPE", mode="p-mpjpe", skip_list=left_out),
]
test_evaluator = val_evaluator
