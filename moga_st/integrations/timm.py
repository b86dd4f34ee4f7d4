"""MogaNet in timm's registry: after ``import moga_st.integrations.timm``, ``timm.create_model`` knows "moganet_xtiny"
to "moganet_xlarge", with all that timm's own models have.

The state dict's keys are those of :class:`moga_st.models.moganet.MogaNet`: weights go from one to the other unchanged.
Needs timm: ``pip install 'moga-st[images]'``.

Shape legend: ``b`` batch, ``c`` channels, ``h w`` image size; stage k of 0 to 3 runs at h/2^(k+2).
"""
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import SelectAdaptivePool2d
from timm.models import (
    build_model_with_cfg,
    create_model,
    generate_default_cfgs,
    is_model,
    list_models,
    register_model,
    register_notrace_module,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from moga_st.config import ModelConfig
from moga_st.convert import classifier_tensors
from moga_st.errors import BadInput, nearest
from moga_st.models.moga import ChannelAggregationFFN, DropPath, MultiOrderDepthwise
from moga_st.models.moganet import SIZES, MogaNet, MogaNetConfig, Stage, linear_head
from moga_st.spec import InputSpec, agreed

NAMES = {
    f"moganet_{long}": short
    for long, short in zip(("xtiny", "tiny", "small", "base", "large", "xlarge"), SIZES, strict=True)
}
"""timm's names, as published, for :data:`moga_st.models.moganet.SIZES`."""

_RELEASE = "https://github.com/Westlake-AI/MogaNet/releases/download/moganet-in1k-weights/"


def _published(file: str, size: int = 224) -> dict[str, Any]:
    """A file of the MogaNet repository's release and how its network wants images (the repository's validation)."""
    return {
        "url": _RELEASE + file,
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (size // 32, size // 32),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stages.0.embed.0",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2211.03295",
        "origin_url": "https://github.com/Westlake-AI/MogaNet",
    }


default_cfgs = generate_default_cfgs(
    {
        "moganet_xtiny.in1k": _published("moganet_xtiny_sz224_8xbs128_ep300.pth.tar"),
        "moganet_xtiny.in1k_256": _published("moganet_xtiny_sz256_8xbs128_ep300.pth.tar", 256),
        "moganet_tiny.in1k": _published("moganet_tiny_sz224_8xbs128_ep300.pth.tar"),
        "moganet_tiny.in1k_256": _published("moganet_tiny_sz256_8xbs128_ep300.pth.tar", 256),
        "moganet_small.in1k": _published("moganet_small_sz224_8xbs128_ep300.pth.tar"),
        "moganet_base.in1k": _published("moganet_base_sz224_8xbs128_ep300.pth.tar"),
        "moganet_large.in1k": _published("moganet_large_sz224_8xbs64_ep300.pth.tar"),
        "moganet_xlarge.in1k": _published("moganet_xlarge_sz224_8xbs64_ep300.pth.tar"),
    }
)


class TimmMogaNet(MogaNet):
    """MogaNet with timm's interface: images (b, in_chans, h, w) -> (b, num_classes).

    Args:
        config: the size; its ``channels``, ``classes``, ``drop_path`` and ``double_silu`` are the next ones' business.
        num_classes: classes of the linear head; 0 for none, which leaves the pooled features.
        in_chans: image channels.
        global_pool: as timm's SelectAdaptivePool2d has it ("avg", "max", "avgmax", "catavgmax", "fast..."); "" for
            none, which takes ``num_classes=0`` and leaves the map.
        drop_rate: dropout before the head.
        drop_path_rate: drop-path rate of the last block; it rises linearly from 0.
        attn_force_fp32: does what the published switch of this name does, which is more than its name says: gate
            and value are computed in float32 under autocast **and go through SiLU a second time**, so that weights
            trained with it on need it on.  OpenMixup's published weights do; the MogaNet repository's do not.

    Raises:
        BadInput: an argument that does not fit.
    """

    def __init__(
        self,
        config: MogaNetConfig,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        attn_force_fp32: bool = False,
    ):
        super().__init__(
            dataclasses.replace(
                config, channels=in_chans, classes=0, drop_path=drop_path_rate, double_silu=attn_force_fp32
            )
        )
        self.in_chans, self.drop_rate, self.grad_checkpointing = in_chans, drop_rate, False
        self.num_features = self.head_hidden_size = config.widths[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**k, "module": f"stages.{k}"} for k, width in enumerate(config.widths)
        ]
        self.global_pool = self.head_drop = nn.Identity()  # so that modules stand in the order in which they run
        del self.head
        self.reset_classifier(num_classes, global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """(b, in_chans, h, w) -> the last stage's map (b, num_features, h / 32, w / 32), after its norm."""
        for stage in self.stages:
            x = self._run(stage, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The map -> logits (b, num_classes), or with ``pre_logits`` the pooled features (b, num_features)."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.head(x)

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        return self.forward_intermediates(image, intermediates_only=True)  # type: ignore[return-value]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,  # noqa: ARG002 (every stage ends in its norm)
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of stages, and the last one unless ``intermediates_only``.

        Args:
            x: images (b, in_chans, h, w).
            indices: which stages: the last n, or these (negative ones count from the end); None for all.
            norm: for timm's sake; every stage ends in a batch norm, so its map is normalised anyway.
            stop_early: run no stage after the last one asked for; the final map is then that one's.
            output_fmt: "NCHW", or "NHWC" for (b, h, w, c).

        Raises:
            BadInput: another ``output_fmt``.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise BadInput(f"output_fmt: expected NCHW or NHWC, got {output_fmt!r}")
        # timm's own type for indices is a list or an int
        take, last = feature_take_indices(len(self.stages), indices)  # type: ignore[arg-type]
        found = []
        for k, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = self._run(stage, x)
            if k in take:
                found.append(x if output_fmt == "NCHW" else x.permute(0, 2, 3, 1))
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,  # noqa: ARG002 (see forward_intermediates)
        prune_head: bool = True,
    ) -> list[int]:
        """Drop the stages after the last one asked for, and with them the head; returns the stages kept to be read."""
        take, last = feature_take_indices(len(self.stages), indices)  # type: ignore[arg-type]
        shorter = last + 1 < len(self.stages)
        self.stages = self.stages[: last + 1]
        if shorter:
            self.num_features = self.head_hidden_size = self.config.widths[last]
        if prune_head or shorter:
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head, freshly initialised; ``global_pool`` None leaves the pooling as it is.

        Raises:
            BadInput: classes without pooling, or fewer than 0.
        """
        if global_pool is not None:
            self.global_pool = (
                SelectAdaptivePool2d(pool_type=global_pool, flatten=True) if global_pool else nn.Identity()
            )
        pool = self.global_pool
        pooled = isinstance(pool, SelectAdaptivePool2d)
        if num_classes < 0 or (num_classes and not pooled):
            raise BadInput(f"num_classes: expected 0 or more, and 0 where global_pool is '', got {num_classes}")
        self.num_classes = num_classes
        self.head_drop = nn.Dropout(self.drop_rate) if pooled else nn.Identity()
        width = self.num_features * (pool.feat_mult() if isinstance(pool, SelectAdaptivePool2d) else 1)
        self.head = linear_head(width, num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute a block's inside again in the backward pass instead of keeping it: less memory, the same numbers."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers in order, for rates that decay with depth: the stem, then every block (``coarse``: every stage)
        with the embedding before it; a stage's norm goes with its last block; the head comes last."""
        if coarse:
            return {"stem": r"^stages\.0\.embed", "blocks": r"^stages\.(\d+)"}
        return {
            "stem": r"^stages\.0\.embed",
            "blocks": [
                (r"^stages\.(\d+)\.embed", (0,)),
                (r"^stages\.(\d+)\.blocks\.(\d+)", None),
                (r"^stages\.(\d+)\.norm", (99999,)),
            ],
        }

    def no_weight_decay(self) -> set[str]:
        """Layer scales and sigmas, which are one number a channel whatever their shape."""
        return {n for n, p in self.named_parameters() if n.endswith(("scale1", "scale2", "sigma")) and p.ndim > 1}

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            return stage(x)
        assert isinstance(stage, Stage)
        x = stage.embed(x)
        for block in stage.blocks:
            contexts = _once(block)
            x = checkpoint(block, x, use_reentrant=False, context_fn=lambda contexts=contexts: contexts)  # type: ignore[assignment]
        return stage.norm(x)


def _once(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds a block's first computation and its second, in which batch norms leave their statistics alone:
    without that the batch would count twice."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    @contextmanager
    def again() -> Iterator[None]:
        before = [
            (m.momentum, m.num_batches_tracked, None if m.num_batches_tracked is None else m.num_batches_tracked + 0)
            for m in norms
        ]
        for m in norms:
            m.momentum = 0.0
        try:
            yield
        finally:
            for m, (momentum, counter, count) in zip(norms, before, strict=True):
                m.momentum = momentum
                if counter is not None and count is not None:
                    counter.copy_(count)

    return nullcontext(), again()


@dataclass(frozen=True)
class TimmModelConfig(ModelConfig, kind="timm_model"):
    """Any classifier of timm's, to train beside ours."""

    name: str = "convnext_atto"
    """timm's name."""
    channels: int | None = None
    """Image channels; null for the data's, or 3."""
    classes: int | None = None
    """Classes; null for the data's, or 1000."""
    drop_path: float = 0.0
    """Drop-path rate of the last block."""
    patch_size: int | None = None
    """timm's argument of that name, where the model has it; null for its own."""
    enlarge: int = 1
    """Images are made so many times as large first, their pixels repeated: the stem of most of timm's models takes
    steps of four pixels and more, too large for images of 28 (2 there is a stem with half the step)."""
    size: int = 224
    """Side of the images that operations are counted and speed is measured on."""

    @property
    def example_shape(self) -> tuple[int, ...]:
        return (3 if self.channels is None else self.channels, self.size, self.size)

    def fit(self, spec: InputSpec) -> TimmModelConfig:
        if len(spec.shape) != 3:
            raise BadInput(f"{self.name} takes images (c, h, w); this data has inputs of shape {spec.shape}")
        fitted = dataclasses.replace(
            self,
            channels=agreed("channels", self.channels, spec.shape[0], 3),
            classes=agreed("classes", self.classes, spec.target[0] if spec.target else None, 1000),
            size=spec.shape[1] or self.size,
        )
        try:
            with torch.device("meta"), torch.no_grad():
                fitted.build().eval()(torch.empty(1, *fitted.example_shape))
        except (RuntimeError, AssertionError) as error:  # what timm's models raise for images of a wrong size
            raise BadInput(
                f"{self.name}: does not take images of {fitted.size} x {fitted.size} pixels, enlarged {self.enlarge} "
                f"times ({error}); expected a size that its stem and stages divide, which model.enlarge may give"
            ) from error
        return fitted

    def build(self) -> nn.Module:
        if self.enlarge < 1:
            raise BadInput(f"timm_model enlarge: expected at least 1, got {self.enlarge}")
        if not is_model(self.name):
            raise BadInput(f"timm has no model {self.name!r}{nearest(self.name, list_models())}")
        options: dict[str, Any] = {} if self.patch_size is None else {"patch_size": self.patch_size}
        try:
            net = create_model(
                self.name,
                in_chans=3 if self.channels is None else self.channels,
                num_classes=1000 if self.classes is None else self.classes,
                drop_path_rate=self.drop_path,
                **options,
            )
        except TypeError as error:  # what timm's models raise for an argument that they do not have
            raise BadInput(f"{self.name}: timm cannot build it so ({error})") from error
        if self.enlarge > 1:  # a hook, and no module around it, which would rename the weights
            net.register_forward_pre_hook(functools.partial(_enlarged, self.enlarge))
        return net


def _enlarged(times: int, net: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:  # noqa: ARG001
    """The images (b, c, h, w) of a call with each pixel repeated: (b, c, times h, times w)."""
    return (nn.functional.interpolate(args[0], scale_factor=times, mode="nearest"),)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Tensors of any published dialect (the MogaNet repository's, OpenMixup's), of this package's or of a training
    run's under a wrapper's prefix, under the names that ``model`` has.

    Raises:
        BadInput: no MogaNet's, or OpenMixup's classifier for a model without ``attn_force_fp32``.
    """
    tensors, dialect = classifier_tensors(state_dict, "state_dict")
    if dialect == "openmixup" and isinstance(model, MogaNet) and not model.config.double_silu:
        raise BadInput("OpenMixup's weights were trained with attn_force_fp32: create_model(..., attn_force_fp32=True)")
    return tensors


def _register(name: str, config: MogaNetConfig) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return build_model_with_cfg(
            TimmMogaNet,
            name,
            pretrained,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
            config=config,
            **kwargs,
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"MogaNet-{NAMES[name].upper()} (arXiv 2211.03295); arguments as :class:`TimmMogaNet` has them."
    globals()[name] = register_model(build)


# inside them is control flow that depends on shapes and devices, which torch.fx cannot trace
for module in (MultiOrderDepthwise, ChannelAggregationFFN, DropPath):
    register_notrace_module(module)
for _name, _size in NAMES.items():
    _register(_name, SIZES[_size])
