"""Assembly of sources from the options of their factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from advtransfer.types import Context, Dataset, File
from advtransfer_vision.pretrained import checkpoints, torchvision_networks, torchvision_weights
from advtransfer_vision.pretrained.checkpoints import (
    CheckpointContents,
    CheckpointLayout,
    head_names,
)
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.hub_files import HubFile, fetch_file
from advtransfer_vision.pretrained.network_spec import (
    CutNetwork,
    Library,
    NetworkSpec,
    default_spec,
)
from advtransfer_vision.pretrained.source import PretrainedSource

UNTRAINED_CLAIMS = Claims(data="none: untrained")
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)
"""Normalisation of CIFAR-10 in the robustness library (``robustness/datasets.py``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOptions:
    """Options about a network's inputs, outputs and blocks.

    Args:
        data: The source's own data, whose sizes the network has.
        outputs: Number of logits; None for that of `data`, or else the architecture's default.
        pixels: Height and width of the inputs; likewise.
        blocks: Paths of the modules where blocks begin; empty for the known ones of the architecture.
        head: Path of the module that gives the logits; required with `blocks`.
    """

    data: Dataset | None = None
    outputs: int | None = None
    pixels: int | None = None
    blocks: tuple[str, ...] = ()
    head: str | None = None

    def apply_to(self, spec: NetworkSpec) -> NetworkSpec:
        """Return a specification with these options.

        Raises:
            ValueError: The options contradict each other or the data.
        """
        cut = replace(spec, blocks=self.blocks, head=self.head)
        return cut.with_sizes(self.data, outputs=self.outputs, pixels=self.pixels)


def torchvision_source(
    architecture: str,
    *,
    weights: str | None,
    file: File | None,
    size: SizeOptions,
    layout: CheckpointLayout,
    claims: Claims | None,
    download: bool,
) -> PretrainedSource:
    """Return a classifier of torchvision with named weights, weights of a file, or initial weights.

    Raises:
        ValueError: Both `weights` and `file` are given.
    """
    if weights is None:
        spec = size.apply_to(default_spec(architecture))
        if file is None:
            return PretrainedSource(spec=spec, claims=claims or UNTRAINED_CLAIMS)
        return state_dict_source(
            spec, file=file, hub=None, layout=layout, claims=claims or Claims()
        )
    if file is not None:
        found = f"weights {weights!r} and the file {file.path}"
        raise ValueError(f"found {found}; expected one of them; leave the other out")
    named_weights = torchvision_weights.find_weights(architecture, weights)
    spec = size.apply_to(torchvision_weights.weights_spec(architecture, named_weights))

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        path = torchvision_weights.weights_file(named_weights, download=download, context=context)
        return layout.read_file(path, network, what=architecture, rename=spec.current_names)

    return PretrainedSource(
        spec=spec,
        claims=claims or torchvision_weights.weights_claims(named_weights),
        place=str(named_weights),
        read=read,
        options=layout.options,
    )


def robustness_source(
    architecture: str,
    *,
    file: File | None,
    hub: HubFile | None,
    size: SizeOptions,
    layout: CheckpointLayout,
    claims: Claims,
) -> PretrainedSource:
    """Return a source from a local or hub file of the robustness library or robust-models-transfer."""
    spec = default_spec(architecture)
    if torchvision_networks.is_for_cifar(architecture):
        spec = replace(spec, mean=CIFAR_MEAN, std=CIFAR_STD)
    spec = size.apply_to(replace(spec, clamp=True))
    place, get_path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        return checkpoints.read_robustness_file(
            get_path(), network, layout=layout, what=architecture, rename=spec.current_names
        )

    return PretrainedSource(
        spec=spec, claims=claims, place=place, read=read, options=layout.options
    )


def checkpoint_source(
    architecture: str,
    *,
    library: Library,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    file: File | None,
    hub: HubFile | None,
    size: SizeOptions,
    layout: CheckpointLayout,
    claims: Claims,
) -> PretrainedSource:
    """Return a source from a local or hub state dict, with the normalisation that the suite gives."""
    spec = size.apply_to(replace(default_spec(architecture, library), mean=mean, std=std))
    layout = replace(layout, options=layout.options | {"mean"})
    return state_dict_source(spec, file=file, hub=hub, layout=layout, claims=claims)


def state_dict_source(
    spec: NetworkSpec,
    *,
    file: File | None,
    hub: HubFile | None,
    layout: CheckpointLayout,
    claims: Claims,
) -> PretrainedSource:
    """Return a source from a local or hub file with a state dict of the architecture."""
    place, get_path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        return layout.read_file(get_path(), network, what=spec.name, rename=spec.current_names)

    return PretrainedSource(
        spec=spec, claims=claims, place=place, read=read, options=layout.options
    )


def timm_source(
    name: str,
    *,
    file: File | None,
    hub: HubFile | None,
    size: SizeOptions,
    layout: CheckpointLayout,
    claims: Claims | None,
) -> PretrainedSource:
    """Return an architecture of timm with weights of a local or hub file, or with initial weights."""
    # timm is an optional dependency.
    from advtransfer_vision.pretrained import timm_networks

    spec = size.apply_to(timm_spec(name))
    if file is None and hub is None:
        return PretrainedSource(spec=spec, claims=claims or UNTRAINED_CLAIMS)
    place, get_path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        contents = layout.read_file(get_path(), network, what=name, rename=dict)
        initial_head: dict[str, Tensor] = {}
        if layout.new_head:
            initial = network.model.state_dict()
            initial_head = {key: initial[key] for key in head_names(network)}
        tensors = timm_networks.load_renamed(
            name,
            {**contents.tensors, **initial_head},
            outputs=spec.outputs,
            pixels=spec.pixels,
            place=place,
            new_head=layout.new_head,
        )
        # timm may draw the head anew while it loads, so the initial one is put in place again.
        return replace(contents, tensors={**tensors, **initial_head})

    return PretrainedSource(
        spec=spec,
        claims=claims or timm_networks.timm_claims(name),
        place=place,
        read=read,
        options=layout.options,
    )


def timm_spec(name: str) -> NetworkSpec:
    """Return the specification for a name of timm, with the sizes and normalisation of its weights.

    Raises:
        UnknownName: timm has no such architecture.
    """
    from advtransfer_vision.pretrained import timm_networks

    settings = timm_networks.pretrained_settings(name)
    return NetworkSpec(
        name=name,
        library="timm",
        outputs=settings.num_classes,
        pixels=settings.input_size[1],
        mean=tuple(settings.mean),
        std=tuple(settings.std),
    )


def locate_file(file: File | None, hub: HubFile | None) -> tuple[str, Callable[[], Path]]:
    """Return the description of a file of weights, and a function that returns its path.

    A file in the hub is downloaded when the function is called, so that a plan needs no network.

    Raises:
        ValueError: Not exactly one of the two is given.
    """
    if file is not None and hub is None:
        path = file.path
        return str(path), lambda: path
    if hub is not None and file is None:
        # Imported before any work is done, so that a missing library is reported at once.
        from huggingface_hub import hf_hub_download

        return str(hub), partial(fetch_file, hub, hf_hub_download)
    found = "neither a file nor a hub" if file is None else "both a file and a hub"
    next_step = "write `file: PATH`, or `hub: {repo: ..., file: ..., revision: ...}`"
    raise ValueError(f"found {found}; expected one of them; {next_step}")
