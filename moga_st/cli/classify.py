"""`moga-st classify WEIGHTS IMAGE...`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from moga_st.cli.collecting import bring_torch
from moga_st.cli.parsing import named, parse


@dataclass(frozen=True)
class Classify:
    """Name what images show: the most likely classes, and with --cam where on the image the first one was found."""

    weights: Annotated[Positional[Path], named("WEIGHTS")]
    """A .safetensors or exported .onnx file, a run's folder, or the name of weights in the package."""
    images: Annotated[Positional[tuple[Path, ...]], named("IMAGE...")]
    """Image files, or folders of them."""
    top: int = 5
    """Classes to name."""
    names: Path | None = None
    """File of the classes' names, one a line, where the weights do not say them."""
    cam: bool = False
    """Draw Grad-CAM's heat map beside every image, as OUT/IMAGE_classified.png."""
    out: Path = Path("classified")
    """Folder for the pictures."""
    runtime: Literal["onnxruntime", "openvino"] | None = None
    """What runs the network instead of torch, on the CPU: weights are exported for it in memory, an .onnx file of
    `moga-st export` is taken as it is."""
    device: str = "auto"
    """auto (CUDA if there is one), cpu, cuda, cuda:N or mps."""
    json: bool = False
    """Print JSON, a line an image."""


def run(argv: list[str]) -> None:
    args = parse(Classify, "moga-st classify", argv)
    bring_torch()
    from moga_st.device import setup
    from moga_st.errors import BadInput
    from moga_st.infer.classify import load_classifier
    from moga_st.storage import escape

    if not args.images:
        raise BadInput("classify: name at least one image or folder")
    classifier = load_classifier(args.weights, setup(args.device), args.names, args.runtime)
    for found in classifier(list(args.images), args.top, args.cam):
        written: list[str] = []
        if args.cam:
            args.out.mkdir(parents=True, exist_ok=True)
            written = [str(p) for p in found.example().save(args.out / f"{found.path.stem}_classified")]
        if args.json:
            top = [{"class": name, "share": share} for name, share in found.top]
            print(json.dumps({"image": str(found.path), "top": top, "written": written}))
            continue
        print(escape(f"{found.path}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.top)))
        for path in written:
            print(escape(f"written: {path}"))
