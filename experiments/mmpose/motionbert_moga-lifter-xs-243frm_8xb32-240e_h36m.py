"""The XS lifter on Human3.6M, 243 frames, MotionBERT's protocol."""

_base_ = ["_base_/h36m_motionbert.py"]
