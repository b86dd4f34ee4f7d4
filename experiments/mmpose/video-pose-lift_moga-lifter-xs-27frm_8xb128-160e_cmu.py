"""The XS lifter on CMU motion capture, 27 frames: the people and cameras of the recipe cmu_moga_27f, in VideoPose3D's
protocol.  The file is what `moga-st data prepare cmu-mocap SRC` writes."""

_base_ = ["_base_/h36m_videopose3d.py"]

data_root = "datasets/"
test_subjects = ["S05", "S07", "S14", "S16", "S35"]
val_subjects = ["S08", "S10", "S32"]

data = dict(
    _delete_=True,
    type="MogaPreparedDataset",
    data_root=data_root,
    ann_file="cmu-mocap.h5",
    seq_len=27,
    causal=False,
    pad_video_seq=True,
)
train_dataloader = dict(
    dataset=dict(data, without_subjects=test_subjects + val_subjects, pipeline=_base_.train_pipeline)
)
val_dataloader = dict(dataset=dict(data, subjects=val_subjects, pipeline=_base_.val_pipeline, test_mode=True))
test_dataloader = dict(dataset=dict(data, subjects=test_subjects, pipeline=_base_.val_pipeline, test_mode=True))
