"""Sources with weights from files, torchvision, timm or the Hugging Face hub.

Light: torch is imported when one is built.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge

from advtransfer.types import Dataset, Factory, File, NotInId, Since, Source, component
from advtransfer_vision.pretrained.claims import RELEASED_CHECKPOINTS, Claims
from advtransfer_vision.pretrained.hub_files import HubFile

Count: TypeAlias = Annotated[int, Ge(1)]
ChannelValues: TypeAlias = tuple[float, float, float]
ModulePaths: TypeAlias = tuple[str, ...]
Library: TypeAlias = Literal["torchvision", "timm"]

KeyOption: TypeAlias = Annotated[str | None, Since(2)]
NewHeadOption: TypeAlias = Annotated[bool, Since(2)]

_NO_CLAIMS = Claims()


@component(shape="data", version=2)
def torchvision_model(
    *,
    architecture: str,
    weights: str | None = None,
    file: File | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: ModulePaths = (),
    head: str | None = None,
    card: Claims | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    download: Annotated[bool, NotInId()] = False,
    key: KeyOption = None,
    prefix: KeyOption = None,
    new_head: NewHeadOption = False,
) -> Source:
    """Any classifier of torchvision: with torchvision's own weights by name, with those of a file, or untrained.

    Its blocks are its residual blocks or single layers; for ResNet-50, the last 1, 3 and 9 are those of Utrera et al.
    (2021). Inputs are normalised as the named weights ask for, otherwise as for ImageNet.

    Args:
        architecture: Its name in torchvision, such as ``resnet50``.
        weights: The name of torchvision's weights, such as ``ResNet50_Weights.IMAGENET1K_V1`` or just
            ``IMAGENET1K_V1``. Their file is looked for in ADVTRANSFER_DATA and in torch hub's cache.
        file: Weights of your own: a state dict, as safetensors or a torch file. Without `weights` and `file`, the
            weights are drawn.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or of the named weights, or 1000.
        pixels: Height and width of the inputs; by default those of `data`, or of the named weights, or 224.
        blocks: Paths of the modules where blocks begin, in place of those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``; by
            default what torchvision says of the named ones.
        seed: What untrained weights are drawn from.
        download: Download the named weights when their file is not found.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions
    from advtransfer_vision.pretrained.assemble import torchvision_source as assembled
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    size = SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    layout = CheckpointLayout(key=key, prefix=prefix, new_head=new_head)
    return assembled(
        architecture,
        weights=weights,
        file=file,
        size=size,
        layout=layout,
        claims=card,
        download=download,
    )


@component(shape="data", presets=RELEASED_CHECKPOINTS, version=2)
def robustness_checkpoint(
    *,
    architecture: str,
    file: File | None = None,
    hub: HubFile | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: ModulePaths = (),
    head: str | None = None,
    card: Claims = _NO_CLAIMS,
    key: KeyOption = None,
    new_head: NewHeadOption = False,
) -> Source:
    """A checkpoint of MadryLab's robustness library or of microsoft/robust-models-transfer.

    It is read without running code that it may carry. The normalisation is the checkpoint's own; inputs are clamped to
    [0, 1] before it, as the library does. A preset of the name of a released file, such as ``resnet50_l2_eps3``, sets
    `architecture` and `card`.

    Source: Engstrom et al., Robustness (Python Library), 2019; Salman et al., Do Adversarially Robust ImageNet Models
    Transfer Better?, NeurIPS 2020.

    Args:
        architecture: torchvision's name, such as ``resnet50`` or ``densenet161``; ``wide_resnet50_3`` to ``_6``; or
            ``cifar_resnet18`` to ``cifar_resnet152`` for the library's own CIFAR ResNets; or another one that
            ``vision/checkpoint`` knows.
        file: The checkpoint.
        hub: In place of `file`: ``{repo, file, revision, sha256}`` in the Hugging Face hub, such as a file of
            ``madrylab/robust-imagenet-models``; needs the extra ``hub``.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, in place of those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        key: Where in the file the weights are; by default ``model``, in older files ``state_dict_source``.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions
    from advtransfer_vision.pretrained.assemble import robustness_source as assembled
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    size = SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    layout = CheckpointLayout(key=key, new_head=new_head, options=frozenset({"key", "new_head"}))
    return assembled(architecture, file=file, hub=hub, size=size, layout=layout, claims=card)


@component(shape="data", version=2)
def checkpoint(
    *,
    file: File,
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
    card: Claims = _NO_CLAIMS,
    new_head: NewHeadOption = False,
) -> Source:
    """A state dict of your own, as safetensors or a torch file, for an architecture of torchvision or timm.

    It is read without running code that it may carry, and must hold exactly the weights of the architecture.

    Besides those of the library, architectures of published CIFAR checkpoints are known, with the names that their
    weights have there: ``wide_resnet_28_10`` (depth and width may be others; TRADES, most of RobustBench's),
    ``dm_wide_resnet_28_10_silu`` (DeepMind's; without ``_silu`` it has ReLU), ``preact_resnet18`` (``_raw``: shortcuts
    from inputs that are not activated, as Wong et al., 2020; ``_bn``: normalised before the pooling, as Rice et al.,
    2020), ``dm_preact_resnet18_silu``, ``cifar_resnet18`` to ``cifar_resnet152`` (kuangliu's, the robustness library's)
    and ``cifar_alexnet``.

    Args:
        file: The checkpoint.
        architecture: Its name in the library, such as ``resnet50``; or ``wide_resnet_28_10``.
        mean: Of each channel of the inputs in [0, 1], as in the training: a wrong one is the commonest reason for low
            accuracy.
        std: Likewise.
        library: Where the architecture is from; ``timm`` needs the extra ``hub``.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, in place of those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, state_dict_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout
    from advtransfer_vision.pretrained.network_spec import default_spec

    size = SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    design = size.apply_to(replace(default_spec(architecture, library), mean=mean, std=std))
    layout = CheckpointLayout(
        key=key, prefix=prefix, new_head=new_head, options=CheckpointLayout().options | {"mean"}
    )
    return state_dict_source(design, file=file, hub=None, layout=layout, claims=card)


FILE_SOURCES: tuple[Factory[Source], ...] = (torchvision_model, robustness_checkpoint, checkpoint)


_NO_HUB_CLAIMS = Claims()


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
    card: Claims = _NO_HUB_CLAIMS,
    new_head: NewHeadOption = False,
) -> Source:
    """A state dict from the Hugging Face hub, for an architecture of torchvision or timm; needs the extra ``hub``.

    It is downloaded once into the hub's own cache, read without running code that it may carry, and must hold exactly
    the weights of the architecture. The architectures are those of ``vision/checkpoint``.

    Args:
        hub: The file: ``{repo, file, revision, sha256}``; the revision is a commit, so that the file cannot change.
        architecture: Its name in the library, such as ``resnet50``; or ``wide_resnet_28_10``.
        mean: Of each channel of the inputs in [0, 1], as in the training: a wrong one is the commonest reason for low
            accuracy.
        std: Likewise.
        library: Where the architecture is from.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, in place of those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, state_dict_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout
    from advtransfer_vision.pretrained.network_spec import default_spec

    size = SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    design = size.apply_to(replace(default_spec(architecture, library), mean=mean, std=std))
    layout = CheckpointLayout(
        key=key, prefix=prefix, new_head=new_head, options=CheckpointLayout().options | {"mean"}
    )
    return state_dict_source(design, file=None, hub=hub, layout=layout, claims=card)


@component(shape="data", version=2)
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

    Inputs are normalised, and sized, as timm says of the name. Weights are read without running code that their file
    may carry. Its forward pass is timm's own, so frozen blocks are computed anew in every epoch of a fine-tuning.

    Args:
        name: timm's name, with the tag of the weights: ``resnet18.a1_in1k``.
        file: The weights. Without `file` and `hub`, they are drawn.
        hub: In place of `file`: ``{repo, file, revision, sha256}`` in the Hugging Face hub, such as
            ``model.safetensors`` of ``timm/resnet18.a1_in1k``; the revision is a commit.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or what timm says of the name.
        pixels: Height and width of the inputs; by default those of `data`, or what timm says of the name.
        blocks: Paths of the modules where blocks begin, in place of those that are found in the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``; by
            default what timm says of the name.
        seed: What untrained weights are drawn from.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions
    from advtransfer_vision.pretrained.assemble import timm_source as assembled
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    size = SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    layout = CheckpointLayout(key=key, prefix=prefix, new_head=new_head)
    return assembled(name, file=file, hub=hub, size=size, layout=layout, claims=card)


HUB_SOURCES: tuple[Factory[Source], ...] = (timm, huggingface)
