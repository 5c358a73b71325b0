"""Puts sources together from the options of their factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from advtransfer.types import Context, Dataset, File
from advtransfer_vision.pretrained import files, named, robustness
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.design import Design
from advtransfer_vision.pretrained.files import Contents
from advtransfer_vision.pretrained.remote import HubFile, fetch
from advtransfer_vision.pretrained.source import Pretrained
from advtransfer_vision.pretrained.zoo import CIFAR

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where in a file the state dict is."""

    key: str | None = None
    prefix: str = ""

    def read(self, path: Path, *, design: Design) -> Contents:
        """The tensors of the file by the names of the design's architecture."""
        contents = files.plain(path, key=self.key, prefix=self.prefix)
        return replace(contents, tensors=design.own_names(contents.tensors))


def torchvision_model(
    architecture: str, *, weights: str | None, file: File | None, size: Size, claims: Claims | None, download: bool
) -> Pretrained:
    """A classifier of torchvision with its own weights, with those of a file, or as it is drawn.

    Raises:
        ValueError: Both weights and a file are asked for.
    """
    if weights is None:
        design = size.of(Design(name=architecture))
        if file is None:
            return Pretrained(design=design, claims=claims or UNTRAINED)
        return state_dict(design, file=file, hub=None, layout=Layout(), claims=claims or Claims())
    if file is not None:
        found = f"weights {weights!r} and the file {file.path}"
        raise ValueError(f"found {found}; expected one of them; leave the other out")
    wanted = named.find(architecture, weights)
    design = size.of(named.design(architecture, wanted))

    def read(context: Context) -> Contents:
        return Layout().read(named.file(wanted, download=download, context=context), design=design)

    return Pretrained(design=design, claims=claims or named.claims(wanted), place=str(wanted), read=read)


def robustness_checkpoint(
    architecture: str, *, file: File | None, hub: HubFile | None, size: Size, claims: Claims
) -> Pretrained:
    """A file of the robustness library or of robust-models-transfer, here or in the hub."""
    plain = Design(name=architecture, clamp=True)
    if architecture.startswith(CIFAR):
        plain = replace(plain, outputs=10, pixels=32, mean=CIFAR_MEAN, std=CIFAR_STD)
    design = size.of(plain)
    place, path = located(file, hub)

    def read(context: Context) -> Contents:
        found = robustness.contents(path(), architecture=architecture)
        return replace(found, tensors=design.own_names(found.tensors))

    return Pretrained(design=design, claims=claims, place=place, read=read)


def state_dict(design: Design, *, file: File | None, hub: HubFile | None, layout: Layout, claims: Claims) -> Pretrained:
    """A state dict, here or in the hub, for an architecture whose names it has."""
    place, path = located(file, hub)
    return Pretrained(
        design=design, claims=claims, place=place, read=lambda context: layout.read(path(), design=design)
    )


def timm(name: str, *, file: File | None, hub: HubFile | None, size: Size, claims: Claims | None) -> Pretrained:
    """An architecture of timm with weights that timm can load, here or in the hub, or as it is drawn."""
    from advtransfer_vision.pretrained import timm_zoo

    design = size.of(timm_zoo.design(name))
    if file is None and hub is None:
        return Pretrained(design=design, claims=claims or UNTRAINED)
    place, path = located(file, hub)

    def read(context: Context) -> Contents:
        contents = files.plain(path())
        return replace(contents, tensors=timm_zoo.renamed(design, contents.tensors, place=place))

    return Pretrained(design=design, claims=claims or timm_zoo.claims(name), place=place, read=read)


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
