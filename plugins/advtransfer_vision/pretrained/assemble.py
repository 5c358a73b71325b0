"""Puts sources together from the options of their factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from advtransfer.types import Context, Dataset, File
from advtransfer_vision.pretrained import named, robustness, zoo
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.design import Cut, Design, named_design
from advtransfer_vision.pretrained.files import Contents, Layout, head_names
from advtransfer_vision.pretrained.remote import HubFile, fetch
from advtransfer_vision.pretrained.source import Pretrained

UNTRAINED = Claims(data="none: untrained")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of the robustness library's CIFAR-10 (``robustness/datasets.py``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a suite says of a network's inputs, outputs and blocks; what it leaves out comes from elsewhere."""

    data: Dataset | None = None
    outputs: int | None = None
    pixels: int | None = None
    blocks: tuple[str, ...] = ()
    head: str | None = None

    def of(self, design: Design) -> Design:
        """The design with what is said."""
        cut = replace(design, blocks=self.blocks, head=self.head)
        return cut.sized(self.data, outputs=self.outputs, pixels=self.pixels)


def torchvision_model(
    architecture: str,
    *,
    weights: str | None,
    file: File | None,
    size: Size,
    layout: Layout,
    claims: Claims | None,
    download: bool,
) -> Pretrained:
    """A classifier of torchvision with its own weights, with those of a file, or as it is drawn.

    Raises:
        ValueError: Both weights and a file are asked for.
    """
    if weights is None:
        design = size.of(named_design(architecture))
        if file is None:
            return Pretrained(design=design, claims=claims or UNTRAINED)
        return state_dict(design, file=file, hub=None, layout=layout, claims=claims or Claims())
    if file is not None:
        found = f"weights {weights!r} and the file {file.path}"
        raise ValueError(f"found {found}; expected one of them; leave the other out")
    wanted = named.find(architecture, weights)
    design = size.of(named.design(architecture, wanted))

    def read(context: Context, network: Cut) -> Contents:
        path = named.file(wanted, download=download, context=context)
        return layout.read(path, network, what=architecture, rename=design.own_names)

    said = claims or named.claims(wanted)
    return Pretrained(design=design, claims=said, place=str(wanted), read=read, options=layout.options)


def robustness_checkpoint(
    architecture: str, *, file: File | None, hub: HubFile | None, size: Size, layout: Layout, claims: Claims
) -> Pretrained:
    """A file of the robustness library or of robust-models-transfer, here or in the hub."""
    plain = named_design(architecture)
    if zoo.for_cifar(architecture):
        plain = replace(plain, mean=CIFAR_MEAN, std=CIFAR_STD)
    design = size.of(replace(plain, clamp=True))
    place, path = located(file, hub)

    def read(context: Context, network: Cut) -> Contents:
        return robustness.contents(path(), network, layout=layout, what=architecture, rename=design.own_names)

    return Pretrained(design=design, claims=claims, place=place, read=read, options=layout.options)


def state_dict(design: Design, *, file: File | None, hub: HubFile | None, layout: Layout, claims: Claims) -> Pretrained:
    """A state dict, here or in the hub, for an architecture whose names it has."""
    place, path = located(file, hub)

    def read(context: Context, network: Cut) -> Contents:
        return layout.read(path(), network, what=design.name, rename=design.own_names)

    return Pretrained(design=design, claims=claims, place=place, read=read, options=layout.options)


def timm(
    name: str, *, file: File | None, hub: HubFile | None, size: Size, layout: Layout, claims: Claims | None
) -> Pretrained:
    """An architecture of timm with weights that timm can load, here or in the hub, or as it is drawn."""
    from advtransfer_vision.pretrained import timm_zoo

    design = size.of(timm_design(name))
    if file is None and hub is None:
        return Pretrained(design=design, claims=claims or UNTRAINED)
    place, path = located(file, hub)

    def read(context: Context, network: Cut) -> Contents:
        contents = layout.read(path(), network, what=name, rename=dict)
        drawn = {one: network.model.state_dict()[one] for one in head_names(network)} if layout.new_head else {}
        tensors = timm_zoo.renamed(
            name,
            {**contents.tensors, **drawn},
            outputs=design.outputs,
            pixels=design.pixels,
            place=place,
            new_head=layout.new_head,
        )
        return replace(contents, tensors={**tensors, **drawn})

    said = claims or timm_zoo.claims(name)
    return Pretrained(design=design, claims=said, place=place, read=read, options=layout.options)


def timm_design(name: str) -> Design:
    """The network of a name of timm, sized and normalised as its weights were trained.

    Raises:
        UnknownName: timm has no such architecture.
    """
    from advtransfer_vision.pretrained import timm_zoo

    said = timm_zoo.settings(name)
    return Design(
        name=name,
        library="timm",
        outputs=said.num_classes,
        pixels=said.input_size[1],
        mean=tuple(said.mean),
        std=tuple(said.std),
    )


def located(file: File | None, hub: HubFile | None) -> tuple[str, Callable[[], Path]]:
    """Where weights are, in words, and how to get at them.

    Raises:
        ValueError: Not exactly one of the two is given.
    """
    if file is not None and hub is None:
        path = file.path
        return str(path), lambda: path
    if hub is not None and file is None:
        from huggingface_hub import hf_hub_download

        return str(hub), partial(fetch, hub, hf_hub_download)
    found = "neither a file nor a hub" if file is None else "both a file and a hub"
    next_step = "write `file: PATH`, or `hub: {repo: ..., file: ..., revision: ...}`"
    raise ValueError(f"found {found}; expected one of them; {next_step}")
