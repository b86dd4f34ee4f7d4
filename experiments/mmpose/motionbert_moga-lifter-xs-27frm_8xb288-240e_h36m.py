"""The XS lifter on Human3.6M, 27 frames, MotionBERT's protocol."""

_base_ = ["_base_/h36m_motionbert.py"]

auto_scale_lr = dict(base_batch_size=2304)
model = dict(backbone=dict(frames=27))
train_dataloader = dict(batch_size=288, dataset=dict(multiple_target=27, multiple_target_step=9))
val_dataloader = dict(batch_size=288, dataset=dict(multiple_target=27))
test_dataloader = val_dataloader
