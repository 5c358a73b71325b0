"""Sources with weights from files or torchvision.

Does not import torch before a source is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from annotated_types import Ge

from advtransfer.types import Dataset, Factory, File, NotInId, Since, Source, component
from advtransfer_vision.networks import Library
from advtransfer_vision.pretrained.claims import RELEASED_CHECKPOINTS, Claims
from advtransfer_vision.pretrained.hub_files import HubFile

Count: TypeAlias = Annotated[int, Ge(1)]
ChannelValues: TypeAlias = tuple[float, float, float]
ModulePaths: TypeAlias = tuple[str, ...]

# Added in version 2: these leave the id of a source while they equal their defaults.
KeyOption: TypeAlias = Annotated[str | None, Since(2)]
NewHeadOption: TypeAlias = Annotated[bool, Since(2)]

ArgumentValue: TypeAlias = bool | int | float | str | None
Argument: TypeAlias = ArgumentValue | tuple[ArgumentValue, ...]

NO_CLAIMS = Claims()
_NO_ARGUMENTS: Mapping[str, Argument] = {}


@component(
    shape="data",
    version=2,
    example={"architecture": "shufflenet_v2_x0_5", "outputs": 3, "pixels": 32},
)
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
    """Any classifier of torchvision: with torchvision's weights by name, with weights of a file, or untrained.

    Its blocks are its residual blocks or single layers; for ResNet-50, the last 1, 3 and 9 are those of Utrera et al.
    (2021). Inputs are normalised as the named weights require, otherwise as for ImageNet.

    Args:
        architecture: Name of the architecture in torchvision, such as ``resnet50``.
        weights: Name of torchvision's weights, such as ``ResNet50_Weights.IMAGENET1K_V1`` or just ``IMAGENET1K_V1``.
            Their file is searched for in ADVTRANSFER_DATA and in torch hub's cache.
        file: Your own weights: a state dict, as safetensors or a torch file. Without `weights` and `file`, the
            weights are drawn.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
        outputs: Number of classes; by default that of `data`, or of the named weights, or 1000.
        pixels: Height and width of the inputs; by default those of `data`, or of the named weights, or 224.
        blocks: Paths of the modules where blocks begin, instead of the known ones of the architecture.
        head: Path of the module that gives the logits; required with `blocks`.
        card: Claims about the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``; by
            default torchvision's claims about the named weights.
        seed: Seed of untrained weights.
        download: Whether to download the named weights when their file is not found.
        key: Key of the weights in the file; by default the one whose tensors have the architecture's names. Of weights
            and their moving average, the average is chosen, as in timm; of other sets, the suite must name one.
        prefix: Prefix to strip from the names, such as ``module.``; tensors without it are left out. By default
            detected.
        new_head: Whether to draw the head instead of reading it, for a backbone without one; its logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, torchvision_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    return torchvision_source(
        architecture,
        weights=weights,
        file=file,
        size=SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head),
        layout=CheckpointLayout(key=key, prefix=prefix, new_head=new_head),
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
    card: Claims = NO_CLAIMS,
    key: KeyOption = None,
    new_head: NewHeadOption = False,
) -> Source:
    """A checkpoint of MadryLab's robustness library or of microsoft/robust-models-transfer.

    It is read without running code that it may carry. Inputs are clamped to [0, 1], as in the library, and normalised
    as the checkpoint says. Presets are named after released files, such as ``resnet50_l2_eps3``, and set `architecture`
    and `card`.

    Source: Engstrom et al., Robustness (Python Library), 2019; Salman et al., Do Adversarially Robust ImageNet Models
    Transfer Better?, NeurIPS 2020.

    Args:
        architecture: A name in torchvision, such as ``resnet50`` or ``densenet161``; ``wide_resnet50_3`` to ``_6``;
            ``cifar_resnet18`` to ``cifar_resnet152`` for the library's CIFAR ResNets; or another architecture of
            ``vision/checkpoint``.
        file: The checkpoint.
        hub: Instead of `file`, a file in the Hugging Face hub: ``{repo, file, revision, sha256}``, such as one of
            ``madrylab/robust-imagenet-models``; needs the extra ``hub``.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
        outputs: Number of classes; by default that of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, instead of the known ones of the architecture.
        head: Path of the module that gives the logits; required with `blocks`.
        card: Claims about the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        key: Key of the weights in the file; by default ``model``, or ``state_dict`` in older files.
        new_head: Whether to draw the head instead of reading it, for a backbone without one; its logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import SizeOptions, robustness_source
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout

    # The format fixes the prefix, so no error message suggests an option for it.
    return robustness_source(
        architecture,
        file=file,
        hub=hub,
        size=SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head),
        layout=CheckpointLayout(key=key, new_head=new_head, options=frozenset({"key", "new_head"})),
        claims=card,
    )


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
    card: Claims = NO_CLAIMS,
    new_head: NewHeadOption = False,
) -> Source:
    """Your own state dict, as safetensors or a torch file, for an architecture of torchvision or timm.

    It is read without running code that it may carry, and must hold exactly the weights of the architecture.

    Besides those of the library, there are the architectures of published CIFAR checkpoints, with the names of their
    weights: ``wide_resnet_28_10`` (depth and width can differ; TRADES, most of RobustBench's),
    ``dm_wide_resnet_28_10_silu`` (DeepMind's; without ``_silu`` it has ReLU), ``preact_resnet18`` (``_raw``: shortcuts
    from inputs that are not activated, as Wong et al., 2020; ``_bn``: normalised before the pooling, as Rice et al.,
    2020), ``dm_preact_resnet18_silu``, ``cifar_resnet18`` to ``cifar_resnet152`` (kuangliu's, the robustness library's)
    and ``cifar_alexnet``.

    Args:
        file: The checkpoint.
        architecture: Name of the architecture in the library, such as ``resnet50``, or ``wide_resnet_28_10``.
        mean: Mean of each channel for inputs in [0, 1], as in the training; a wrong one is the most common reason for
            low accuracy.
        std: Standard deviation of each channel, likewise.
        library: Library of the architecture; ``timm`` needs the extra ``hub``.
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
        file=file,
        hub=None,
        size=SizeOptions(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head),
        layout=CheckpointLayout(key=key, prefix=prefix, new_head=new_head),
        claims=card,
    )


@component(shape="data")
def module(
    *,
    code: File,
    name: str,
    file: File | None = None,
    arguments: Mapping[str, Argument] = _NO_ARGUMENTS,
    package: str | None = None,
    data: Dataset | None = None,
    shape: tuple[Count, ...] | None = None,
    outputs: Count | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    blocks: ModulePaths = (),
    head: str | None = None,
    card: Claims | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    key: str | None = None,
    prefix: str | None = None,
    new_head: bool = False,
    logits: Annotated[File | None, Since(1)] = None,
) -> Source:
    """A network of your own: a class or function in a Python file, with the weights of a checkpoint, without a plugin.

    The code of the file is run, with your rights: name only files that you trust. The checkpoint is read without
    running code that it may carry, and must hold exactly the weights of the network. The id holds the content of both
    files; of what the code imports it holds nothing, so keep in the file what decides the logits, or write `logits`.

    Args:
        code: The Python file.
        name: The class or function in it that returns the network, an ``nn.Module`` from images to logits.
        file: The checkpoint: a state dict, as safetensors or a torch file. Without it, the weights are drawn.
        arguments: Keyword arguments of the class or function.
        package: The package that the file belongs to, such as ``mynets.resnets``, where it imports others of it
            relatively.
        data: The source's own data; the start-up probe measures the accuracy on its test part.
        shape: Shape ``[C, H, W]`` of one input; by default that of `data`.
        outputs: Number of logits; by default that of `data`.
        bounds: Smallest and largest pixel that the network was trained on; images in [0, 1] are moved there first.
        mean: Mean of each channel, within `bounds`, as in the training; leave it out if the network normalises its
            inputs itself.
        std: Standard deviation of each channel, likewise.
        blocks: Paths of the modules where blocks begin; by default the layers of an ``nn.Sequential``, or what lies
            before the last linear layer.
        head: Path of the module that gives the logits; required with `blocks`.
        card: Claims about the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        seed: Seed of untrained weights.
        key: Key of the weights in the file; by default the one whose tensors have the network's names.
        prefix: Prefix to strip from the names, such as ``module.``; tensors without it are left out. By default
            detected.
        new_head: Whether to draw the head instead of reading it, for a backbone without one; its logits mean nothing.
        logits: The logits that the network with the checkpoint's weights must give for 64 fixed inputs, as
            ``advtransfer.source`` writes them: wherever it is built and gives others, that is an error.
    """
    from advtransfer_vision.pretrained.checkpoints import CheckpointLayout
    from advtransfer_vision.pretrained.user_code import ModuleSpec, agreed_shape, module_source

    input_shape, output_count = agreed_shape(data, shape, outputs)
    spec = ModuleSpec(
        code=code,
        name=name,
        package=package,
        arguments=arguments,
        shape=input_shape,
        outputs=output_count,
        bounds=bounds,
        mean=mean,
        std=std,
        blocks=blocks,
        head=head,
    )
    layout = CheckpointLayout(key=key, prefix=prefix, new_head=new_head)
    return module_source(spec, file=file, layout=layout, claims=card, logits=logits)


FILE_SOURCES: tuple[Factory[Source], ...] = (
    torchvision_model,
    robustness_checkpoint,
    checkpoint,
    module,
)
