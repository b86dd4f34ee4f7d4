"""The XS lifter on Human3.6M, 27 frames, VideoPose3D's protocol."""

_base_ = ["_base_/h36m_videopose3d.py"]
