"""Sources with weights of timm or the Hugging Face hub.

Does not import torch before a source is built.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.types import Dataset, Factory, File, Source, component
from advtransfer_vision.components.pretrained_sources import (
    NO_CLAIMS,
    ChannelValues,
    Count,
    KeyOption,
    ModulePaths,
    NewHeadOption,
)
from advtransfer_vision.networks import Library
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.hub_files import HubFile


@component(shape="data", version=2)
def huggingface(
    *,
    hub: HubFile,
    architecture: str,
    mean: ChannelValues,
    std: ChannelValues,
    library: Library = "torchvision",
    key: str | None = None,
    prefix: str | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: ModulePaths = (),
    head: str | None = None,
    card: Claims = NO_CLAIMS,
    new_head: NewHeadOption = False,
) -> Source:
    """A state dict from the Hugging Face hub, for an architecture of torchvision or timm; needs the extra ``hub``.

    It is downloaded once into the hub's cache, read without running code that it may carry, and must hold exactly the
    weights of the architecture. The architectures are those of ``vision/checkpoint``.

    Args:
        hub: The file: ``{repo, file, revision, sha256}``; the revision is a commit, so that the file cannot change.
        architecture: Name of the architecture in the library, such as ``resnet50``, or ``wide_resnet_28_10``.
        mean: Mean of each channel for inputs in [0, 1], as in the training; a wrong one is the most common reason for
            low accuracy.
        std: Standard deviation of each channel, likewise.
        library: Library of the architecture.
        key: Key of the weights in the file; by default the one whose tensors have the architecture's names. Of weights
            and their moving average, the average is chosen, as in timm; of other sets, the suite must name one.
        prefix: Prefix to strip from the names, such as ``module.``; tensors without it are left out. By default
            detected.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
        outputs: Number of classes; by default that of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, instead of the known ones of the architecture.
        head: Path of the module that gives the logits; required with `blocks`.
        card: Claims about the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        new_head: Whether to draw the head instead of reading it, for a backbone without one; its logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, checkpoint_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    return checkpoint_source(
        architecture,
        library=library,
        mean=mean,
        std=std,
        file=None,
        hub=hub,
        size=SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head),
        layout=CheckpointLayout(key=key, prefix=prefix, new_head=new_head),
        claims=card,
    )


@component(shape="data", version=2, example={"name": "test_vit", "outputs": 3, "pixels": 32})
def timm(
    *,
    name: str,
    file: File | None = None,
    hub: HubFile | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: ModulePaths = (),
    head: str | None = None,
    card: Claims | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    key: KeyOption = None,
    prefix: KeyOption = None,
    new_head: NewHeadOption = False,
) -> Source:
    """Any classifier of timm: with weights that timm can load, or untrained; needs the extra ``hub``.

    Inputs have the size and the normalisation in timm's settings of the name. Weights are read without running code
    that their file may carry. The forward pass is timm's, so a fine-tuning computes frozen blocks in every epoch.

    Args:
        name: Name in timm, with the tag of the weights: ``resnet18.a1_in1k``.
        file: The weights. Without `file` and `hub`, they are drawn.
        hub: Instead of `file`, a file in the Hugging Face hub: ``{repo, file, revision, sha256}``, such as
            ``model.safetensors`` of ``timm/resnet18.a1_in1k``; the revision is a commit.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
        outputs: Number of classes; by default that of `data`, or of timm's settings.
        pixels: Height and width of the inputs; by default those of `data`, or of timm's settings.
        blocks: Paths of the modules where blocks begin, instead of those that are detected in the architecture.
        head: Path of the module that gives the logits; required with `blocks`.
        card: Claims about the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``; by
            default those in timm's settings.
        seed: Seed of untrained weights.
        key: Key of the weights in the file; by default the one whose tensors have the architecture's names. Of weights
            and their moving average, the average is chosen, as in timm; of other sets, the suite must name one.
        prefix: Prefix to strip from the names, such as ``module.``; tensors without it are left out. By default
            detected.
        new_head: Whether to draw the head instead of reading it, for a backbone without one; its logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, timm_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    return timm_source(
        name,
        file=file,
        hub=hub,
        size=SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head),
        layout=CheckpointLayout(key=key, prefix=prefix, new_head=new_head),
        claims=card,
    )


HUB_SOURCES: tuple[Factory[Source], ...] = (timm, huggingface)
