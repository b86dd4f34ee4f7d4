"""`moga-st convert --from DIALECT IN OUT`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from moga_st import recipes
from moga_st.cli.parsing import named, parse
from moga_st.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Convert:
    """Turn a published checkpoint into weights of this package, or store ours in half the size."""

    source: Annotated[Positional[Path], named("IN")]
    """The published .pth or .ckpt: a state dict, bare or under "state_dict" or "model", prefixes or not; or weights of
    ours."""
    target: Annotated[Positional[Path], named("OUT")]
    """The .safetensors file to write; with --to moganet or openmixup, and for mmpose, a .pth."""
    from_: Annotated[
        Literal["openstl", "moganet", "openmixup", "timm", "mmpose", "moga_st"], tyro.conf.arg(name="from")
    ]
    """openstl: SimVP with the MogaNet translator. moganet: the classifier, in MogaNet's keys or OpenMixup's. openmixup:
    in OpenMixup's alone. timm: as our registration in timm saves it. mmpose: a top-down pose model of the MogaNet
    repository (mmpose 0.x), for today's mmpose with our backbone. moga_st: weights or a run's folder of this package,
    for --half or --to."""
    to: Literal["moga_st", "moganet", "openmixup"] = "moga_st"
    """Whose weights to write: ours, or a classifier's state dict in the MogaNet repository's keys or OpenMixup's."""
    weights: Literal["ema", "raw"] | None = None
    """Which of two sets of weights to take, where the checkpoint has both: the moving average (the default) or the
    trained ones."""
    attn_force_fp32: bool | None = None
    """Whether a classifier was trained with this switch, which is more than precision: SiLU goes over gate and value
    twice. Default: on for OpenMixup's, off for the others."""
    half: bool = False
    """Store matrices and kernels as float16."""
    recipe: str | None = None
    """The recipe whose task `eval` scores converted SimVP weights on; without it they belong to none."""


def run(argv: list[str]) -> None:
    args = parse(Convert, "moga-st convert", argv)
    suffix = ".safetensors" if args.from_ != "mmpose" and args.to == "moga_st" else ".pth"
    if args.target.suffix != suffix:
        raise BadInput(f"{args.target}: name the output something{suffix}")
    if not args.target.parent.is_dir():
        raise BadInput(f"{args.target}: there is no folder {args.target.parent}; make it first")
    if args.half and suffix == ".pth":
        raise BadInput("--half: is for .safetensors files of this package")
    if args.from_ == "mmpose":
        _convert_pose(args)
    else:
        _convert(args)


def _convert(args: Convert) -> None:
    from moga_st import pretrained
    from moga_st.convert import convert, publish
    from moga_st.models.simvp import SimVPConfig
    from moga_st.storage import escape

    about: dict[str, Any] = {"converted_from": args.source.name}
    spec = None
    if args.from_ == "moga_st":
        if args.weights is not None or args.attn_force_fp32 is not None:
            raise BadInput("--weights, --attn-force-fp32: are for published checkpoints; ours say what they are")
        path = pretrained.find_weights(args.source)
        net, held = pretrained.load_model(path), pretrained.read_weights(path)
        config, about, spec = held.model, held.about, held.spec
    else:
        assert args.from_ != "mmpose"
        net, config, published = convert(args.source, args.from_, args.weights, args.attn_force_fp32)
        about["published"] = published
        if published["beside"] is not None:
            says = f"{args.source}: takes the {published['weights']} weights; beside them: {published['beside']}"
            print(escape(says))
        if published["dialect"] == "openmixup":
            switch = "on" if config.to_dict()["double_silu"] else "off"
            print(escape(f"{args.source}: OpenMixup's keys, attn_force_fp32 {switch}"))
    if args.recipe is not None:
        about["run"] = dataclasses.replace(recipes.load(args.recipe), model=config).to_dict()
    size = sum(p.numel() for p in net.parameters()) / 1e6
    if args.to == "moga_st":
        pretrained.export_weights(args.target, net, config, about, args.half, spec)
    else:
        _save(args, publish(net.state_dict(), args.to))
    keys = f"all {len(net.state_dict())} keys converted"
    print(f"{escape(args.target)}: {type(net).__name__}, {size:.3f} M parameters, {keys}")
    if isinstance(config, SimVPConfig) and spec is None:
        known = f"{config.frames_in} frames of {config.channels} channels"
        asked = "`predict` takes them from the clip" + ("" if args.recipe else ", `eval` needs --recipe")
        print(f"{escape(args.target)}: {known}; no checkpoint says frame size, rate and unit: {asked}")


def _save(args: Convert, tensors: dict[str, Tensor]) -> None:
    """One file of torch.save, however large, which those who take it expect."""
    import torch

    from moga_st.storage import write_atomically

    content = {"state_dict": tensors, "meta": {"converted_from": args.source.name}}
    write_atomically(args.target, lambda part: torch.save(content, part))


def _convert_pose(args: Convert) -> None:
    from moga_st.convert import convert_pose
    from moga_st.models.moganet import SIZES
    from moga_st.storage import escape

    tensors, config = convert_pose(args.source)
    _save(args, tensors)
    sizes = {dataclasses.replace(size, classes=0, channels=3): repr(name) for name, size in SIZES.items()}
    dims = {name: getattr(config, name) for name in ("widths", "depths", "ffn_ratios")}
    print(f"{escape(args.target)}: all {len(tensors)} keys converted; in mmpose's config")
    print(f"backbone=dict(type='MogaNet', arch={sizes.get(config, dims)}), head=dict(in_channels={config.widths[-1]})")
