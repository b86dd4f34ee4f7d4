"""Motion as text for spreadsheets and biomechanics: CSV, and TRC (marker trajectories, which OpenSim reads).

Shape legend: ``t`` frames, 17 joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moga_st.data.pose.export.motion import CONTACT_JOINTS, Motion
from moga_st.data.pose.rig import NAMES
from moga_st.storage import write_text


def write_csv(path: Path, motion: Motion) -> None:
    """One line a frame: frame, time_s, JOINT_x_m, JOINT_y_m, JOINT_z_m of every joint (axes as in the npz), and where
    known JOINT_confidence and, 0 or 1, JOINT_contact of the feet."""
    header = ["frame", "time_s", *(f"{name}_{axis}_m" for name in NAMES for axis in "xyz")]
    columns = [motion.frame[:, None], motion.time_s[:, None], motion.poses_m.reshape(len(motion.poses_m), -1)]
    formats = ["%d", *["%.6f"] * (1 + 3 * len(NAMES))]
    if motion.confidence is not None:
        header += [f"{name}_confidence" for name in NAMES]
        columns.append(motion.confidence)
        formats += ["%.4f"] * len(NAMES)
    if motion.contacts is not None:
        header += [f"{name}_contact" for name in CONTACT_JOINTS]
        columns.append(motion.contacts)
        formats += ["%d"] * len(CONTACT_JOINTS)
    rows = np.concatenate([c.astype(np.float64) for c in columns], axis=1)
    lines = [",".join(header), *(",".join(f % v for f, v in zip(formats, row, strict=True)) for row in rows.tolist())]
    write_text(path, "\n".join(lines) + "\n")


def write_trc(path: Path, motion: Motion) -> None:
    """Joints as markers, in metres and OpenSim's axes: x away from the camera, y up, z right."""
    t = len(motion.poses_m)
    points = motion.poses_m.astype(np.float64)[..., [1, 2, 0]].reshape(t, -1)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{motion.fps:g}\t{motion.fps:g}\t{t}\t{len(NAMES)}\tm\t{motion.fps:g}\t1\t{t}",
        "\t".join(["Frame#", "Time", *("\t\t".join((name, "")) for name in NAMES)]).rstrip("\t"),
        "\t".join(["", "", *(f"{axis}{i}" for i in range(1, len(NAMES) + 1) for axis in "XYZ")]),
        "",
    ]
    seconds = motion.time_s - motion.time_s[0]
    lines += [
        "\t".join([str(i), f"{s:.6f}", *(f"{v:.6f}" for v in row)])
        for i, (s, row) in enumerate(zip(seconds.tolist(), points.tolist(), strict=True), 1)
    ]
    write_text(path, "\n".join(lines) + "\n")
