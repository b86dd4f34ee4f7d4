"""`moga-st predict WEIGHTS CLIP`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from moga_st.errors import BadInput


@dataclass(frozen=True)
class Predict:
    """Predict the future of a clip, and draw input, truth, prediction and error as PNG and GIF."""

    weights: Positional[Path]
    """A .safetensors file, a run's folder, or the name of weights in the package."""
    clip: Positional[Path]
    """.npy (t, h, w), (t, c, h, w) or (t, h, w, c), uint8 or floats in [0, 1]; .gif; .mp4 and other video."""
    start: int = 0
    """Frame the input begins at."""
    frames: int | None = None
    """Frames to predict; default the model's own number, more by rolling out."""
    size: tuple[int, ...] | None = None
    """Side of the square, or height and width, that frames are resized to; default the size the model was trained
    on."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    out: Path = Path("predictions")
    """Folder for CLIP_predicted.png, .gif and .npy (the prediction, float32 (t, c, h, w))."""
    json: bool = False
    """Print paths and scores as JSON."""


def run(argv: list[str]) -> None:
    args = tyro.cli(Predict, prog="moga-st predict", args=argv)
    import numpy as np

    from moga_st.device import setup
    from moga_st.infer.predict import predict
    from moga_st.storage import save_npy

    if args.size is not None and len(args.size) not in (1, 2):
        raise BadInput(f"--size: expected one number, or height and width, got {len(args.size)} numbers")
    size = None if args.size is None else (args.size[0], args.size[-1])
    made = predict(args.weights, args.clip, start=args.start, frames=args.frames, size=size, device=setup(args.device))
    result: dict[str, Any] = {
        "frames_in": len(made.past),
        "frames_predicted": len(made.frames),
        "frames_compared": len(made.truth),
        **{k: v if np.isfinite(v) else None for k, v in made.scores.items()},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"{args.clip.stem}_predicted"  # whatever --out is, the clip itself is not written over
    paths = made.example(args.clip.name).save(stem)
    array = stem.with_name(stem.name + ".npy")
    save_npy(array, made.frames)
    result["written"] = [*map(str, paths), str(array)]
    if args.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    count = f"{result['frames_in']} frames in, {result['frames_predicted']} predicted"
    print(f"{args.clip}: {count}, {result['frames_compared']} compared with the truth")
    print("".join(f"{k} {v:.4g}  " for k, v in made.scores.items() if k != "ssim_published"))
    print(f"written: {', '.join(result['written'])}")
