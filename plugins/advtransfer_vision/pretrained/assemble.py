"""Puts sources together from the options of their factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from advtransfer.types import Context, Dataset, File
from advtransfer_vision.pretrained import checkpoints, torchvision_networks, torchvision_weights
from advtransfer_vision.pretrained.checkpoints import (
    CheckpointContents,
    CheckpointLayout,
    head_names,
)
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.hub_files import HubFile, fetch_file
from advtransfer_vision.pretrained.network_spec import CutNetwork, NetworkSpec, default_spec
from advtransfer_vision.pretrained.source import PretrainedSource

UNTRAINED_CLAIMS = Claims(data="none: untrained")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of the robustness library's CIFAR-10 (``checkpoints/datasets.py``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOptions:
    """What a suite says of a network's inputs, outputs and blocks; what it leaves out comes from elsewhere."""

    data: Dataset | None = None
    outputs: int | None = None
    pixels: int | None = None
    blocks: tuple[str, ...] = ()
    head: str | None = None

    def apply_to(self, design: NetworkSpec) -> NetworkSpec:
        """The design with what is said."""
        cut = replace(design, blocks=self.blocks, head=self.head)
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
    """A classifier of torchvision with its own weights, with those of a file, or as it is drawn.

    Raises:
        ValueError: Both weights and a file are asked for.
    """
    if weights is None:
        design = size.apply_to(default_spec(architecture))
        if file is None:
            return PretrainedSource(spec=design, claims=claims or UNTRAINED_CLAIMS)
        return state_dict_source(
            design, file=file, hub=None, layout=layout, claims=claims or Claims()
        )
    if file is not None:
        found = f"weights {weights!r} and the file {file.path}"
        raise ValueError(f"found {found}; expected one of them; leave the other out")
    wanted = torchvision_weights.find_weights(architecture, weights)
    design = size.apply_to(torchvision_weights.weights_spec(architecture, wanted))

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        path = torchvision_weights.weights_file(wanted, download=download, context=context)
        return layout.read_file(path, network, what=architecture, rename=design.current_names)

    said = claims or torchvision_weights.weights_claims(wanted)
    return PretrainedSource(
        spec=design, claims=said, place=str(wanted), read=read, options=layout.options
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
    """A file of the robustness library or of robust-models-transfer, here or in the hub."""
    plain = default_spec(architecture)
    if torchvision_networks.is_for_cifar(architecture):
        plain = replace(plain, mean=CIFAR_MEAN, std=CIFAR_STD)
    design = size.apply_to(replace(plain, clamp=True))
    place, path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        return checkpoints.read_robustness_file(
            path(), network, layout=layout, what=architecture, rename=design.current_names
        )

    return PretrainedSource(
        spec=design, claims=claims, place=place, read=read, options=layout.options
    )


def state_dict_source(
    design: NetworkSpec,
    *,
    file: File | None,
    hub: HubFile | None,
    layout: CheckpointLayout,
    claims: Claims,
) -> PretrainedSource:
    """A state dict, here or in the hub, for an architecture whose names it has."""
    place, path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        return layout.read_file(path(), network, what=design.name, rename=design.current_names)

    return PretrainedSource(
        spec=design, claims=claims, place=place, read=read, options=layout.options
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
    """An architecture of timm with weights that timm can load, here or in the hub, or as it is drawn."""
    from advtransfer_vision.pretrained import timm_networks

    design = size.apply_to(timm_spec(name))
    if file is None and hub is None:
        return PretrainedSource(spec=design, claims=claims or UNTRAINED_CLAIMS)
    place, path = locate_file(file, hub)

    def read(context: Context, network: CutNetwork) -> CheckpointContents:
        contents = layout.read_file(path(), network, what=name, rename=dict)
        drawn = (
            {one: network.model.state_dict()[one] for one in head_names(network)}
            if layout.new_head
            else {}
        )
        tensors = timm_networks.load_renamed(
            name,
            {**contents.tensors, **drawn},
            outputs=design.outputs,
            pixels=design.pixels,
            place=place,
            new_head=layout.new_head,
        )
        return replace(contents, tensors={**tensors, **drawn})

    said = claims or timm_networks.timm_claims(name)
    return PretrainedSource(
        spec=design, claims=said, place=place, read=read, options=layout.options
    )


def timm_spec(name: str) -> NetworkSpec:
    """The network of a name of timm, sized and normalised as its weights were trained.

    Raises:
        UnknownName: timm has no such architecture.
    """
    from advtransfer_vision.pretrained import timm_networks

    said = timm_networks.pretrained_settings(name)
    return NetworkSpec(
        name=name,
        library="timm",
        outputs=said.num_classes,
        pixels=said.input_size[1],
        mean=tuple(said.mean),
        std=tuple(said.std),
    )


def locate_file(file: File | None, hub: HubFile | None) -> tuple[str, Callable[[], Path]]:
    """Where weights are, in words, and how to get at them.

    Raises:
        ValueError: Not exactly one of the two is given.
    """
    if file is not None and hub is None:
        path = file.path
        return str(path), lambda: path
    if hub is not None and file is None:
        from huggingface_hub import hf_hub_download

        return str(hub), partial(fetch_file, hub, hf_hub_download)
    found = "neither a file nor a hub" if file is None else "both a file and a hub"
    next_step = "write `file: PATH`, or `hub: {repo: ..., file: ..., revision: ...}`"
    raise ValueError(f"found {found}; expected one of them; {next_step}")
