"""`moga-st convert --from DIALECT IN OUT`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from moga_st import recipes
from moga_st.errors import BadInput


@dataclass(frozen=True)
class Convert:
    """Turn a published checkpoint into weights of this package, or store ours in half the size."""

    source: Positional[Path]
    """The published .pth or .ckpt: a state dict, bare or under "state_dict", prefixes or not; or weights of ours."""
    target: Positional[Path]
    """The .safetensors file to write; for mmpose the .pth that mmpose 1.x loads."""
    from_: Annotated[Literal["openstl", "moganet", "mmpose", "moga_st"], tyro.conf.arg(name="from")]
    """openstl: SimVP with the MogaNet translator. moganet: the classifier, MogaNet's or OpenMixup's keys. mmpose: a
    top-down pose model of the MogaNet repository (mmpose 0.x), for today's mmpose with our backbone. moga_st: weights
    or a run's folder of this package, for --half."""
    half: bool = False
    """Store matrices and kernels as float16."""
    recipe: str = "mmnist_simvp_moga"
    """The recipe whose task `eval` scores converted SimVP weights on."""


def run(argv: list[str]) -> None:
    args = tyro.cli(Convert, prog="moga-st convert", args=argv)
    from moga_st import pretrained
    from moga_st.convert import convert

    suffix = ".pth" if args.from_ == "mmpose" else ".safetensors"
    if args.target.suffix != suffix:
        raise BadInput(f"{args.target}: name the output something{suffix}")
    if not args.target.parent.is_dir():
        raise BadInput(f"{args.target}: there is no folder {args.target.parent}; make it first")
    if args.from_ == "mmpose":
        if args.half:
            raise BadInput("--half: is for .safetensors; mmpose loads a .pth")
        _convert_pose(args)
        return
    about: dict[str, Any] = {"converted_from": args.source.name}
    spec = None
    if args.from_ == "moga_st":
        path = pretrained.find_weights(args.source)
        net, weights = pretrained.load_model(path), pretrained.read_weights(path)
        config, about, spec = weights.model, weights.about, weights.spec
    else:
        net, config, published = convert(args.source, args.from_)
        about["published"] = published
    if args.from_ == "openstl":
        about["run"] = dataclasses.replace(recipes.load(args.recipe), model=config).to_dict()
    pretrained.export_weights(args.target, net, config, about, args.half, spec)
    size = sum(p.numel() for p in net.parameters()) / 1e6
    print(f"{args.target}: {type(net).__name__}, {size:.3f} M parameters, all {len(net.state_dict())} keys converted")


def _convert_pose(args: Convert) -> None:
    from moga_st import checkpoint
    from moga_st.convert import convert_pose
    from moga_st.models.moganet import SIZES

    tensors, config = convert_pose(args.source)
    checkpoint.save(args.target, {"state_dict": tensors, "meta": {"converted_from": args.source.name}})
    sizes = {dataclasses.replace(size, classes=0): repr(name) for name, size in SIZES.items()}
    dims = {name: getattr(config, name) for name in ("widths", "depths", "ffn_ratios")}
    print(f"{args.target}: all {len(tensors)} keys converted; in mmpose's config")
    print(f"backbone=dict(type='MogaNet', arch={sizes.get(config, dims)}), head=dict(in_channels={config.widths[-1]})")
