"""Sources that are trained here, and their controls. Does not import torch before a source is built."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import AdversarialTraining
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
    Sgd,
)
from advtransfer.types import Dataset, Factory, Since, Source, component
from advtransfer_vision import outlines
from advtransfer_vision.networks import NetworkName, NetworkOption, chosen_network

_DEFAULT_OPTIMIZER = Sgd()
_DEFAULT_SCHEDULE = Schedule()


@precheck(outline=outlines.network_outline, check=outlines.check_trained)
@component(
    version=2,
    shape="data",
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16, "network": {"name": "small_cnn", "width": 4}},
)
def trained(
    *,
    data: Dataset,
    network: NetworkName | NetworkOption = "small_cnn",
    width: Annotated[int, Ge(1)] = 16,
    adversary: AdversarialTraining | None = None,
    epochs: Annotated[int, Ge(1)] = 30,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: OptimizerConfig = _DEFAULT_OPTIMIZER,
    schedule: Schedule = _DEFAULT_SCHEDULE,
    seed: Annotated[int, Ge(0)] = 0,
    # Added later: these leave the id of a source while they equal their defaults.
    augment: Annotated[Augment, Since(1)] = "none",
    label_noise: Annotated[float, Interval(ge=0, le=1), Since(1)] = 0.0,
    validation: Annotated[float, Interval(ge=0, lt=1), Since(1)] = 0.0,
    images: Annotated[int | None, Ge(1), Since(1)] = None,
    checkpoint: Annotated[KeptEpoch, Since(1)] = "last",
    averaging: Annotated[Averaging | None, Since(1)] = None,
    cutmix: Annotated[float | None, Gt(0), Since(1)] = None,
) -> Source:
    """A network trained on the train part of a data set, naturally or against an adversary.

    Adversarial training replaces every batch by its adversarial examples under PGD (Madry et al., 2018, equation 2.1);
    APGD, TRADES, fast and free adversarial training are further kinds of adversary. The loss follows from the data's
    task: cross-entropy for classes, binary cross-entropy for attributes, squared error for values.

    Args:
        data: The data set to train on.
        network: A name, for the network in its paper's size, or ``{name, width, depth}``: ``small_cnn``;
            ``mnist_2conv`` (MadryLab's MNIST challenge); ``lenet5``, ``fcnet``, ``resnet18``, ``resnet50`` (for small
            images) and ``one_hidden`` (for regression) of Liang et al. (2020); ``wide_resnet`` of Chan et al. (2020:
            depth 32, width 10). Or ``{architecture, library}``: any classifier of torchvision (``{architecture:
            resnet18}``) or timm (``{architecture: resnet18, library: timm}``; needs the extra ``hub``), or one of a
            published CIFAR checkpoint (``{architecture: wide_resnet_28_10}``, see ``vision/checkpoint``); the data must
            have 3 channels and the size that the architecture requires.
        width: Channels of small_cnn's first block; the others are multiples of it. The width of other networks is an
            option in ``{name, width}``.
        adversary: None for natural training, or one of these kinds, with eps for inputs in [0, 1]: ``pgd``, the default
            (``{norm, eps, steps, step_size, random_start, best}``; `step_size` is 2.5 * eps / steps by default);
            ``trades`` (``{kind, norm, eps, steps, step_size, beta}``, Zhang et al., 2019); ``fast`` (``{kind, eps,
            step_size}``, Wong et al., 2020); ``free`` (``{kind, eps, replays}``, Shafahi et al., 2019); ``apgd``
            (``{kind, norm, eps, steps, random_start}``, Croce and Hein, 2020). All but ``free`` take `warmup`, the
            share of the training over which eps rises linearly from 0.
        epochs: Number of passes over the images; each replay of ``free`` counts as one.
        batch_size: Number of images in a step.
        optimiser: ``{kind: sgd, lr, momentum, weight_decay, nesterov}`` or ``{kind: adam, lr, weight_decay}``.
        schedule: The learning rate over the training: ``{kind, milestones, gamma, warmup}``.
        seed: Seed of initial weights, batch order, augmentation and random starts; replicates differ in it alone.
        augment: ``none``, or a list of changes to each image, in their order: ``pad_crop`` (4 pixels), ``pad_crop_2``
            (2 pixels), ``random_resized_crop``, ``flip``, ``colour_jitter``, ``rotation``.
        label_noise: Share of the training labels that are replaced by another class, to control a source's quality.
        validation: Share of the train part that is held out to monitor the training: the curves then have
            ``validation_accuracy`` and, with an adversary, ``robust_validation_accuracy`` under PGD of 10 steps.
        images: Number of images of the train part that are used, including those for `validation`; None for all. Every
            class has its share. The images are the same for every seed, and a larger number contains a smaller one's.
        checkpoint: ``last``, the weights after the last epoch, or ``best``: those after the epoch with the highest
            accuracy on the `validation` share, robust accuracy where there is an adversary. Adversarial training
            overfits in its later epochs (Rice et al., 2020).
        averaging: Weights that take the place of the last ones: ``{kind: ema, decay}``, their exponential average
            (Rebuffi et al., 2021), or ``{kind: swa, start}``, the mean of those after epochs (Izmailov et al., 2018).
            Batch normalisation measures its statistics again for them, on the training images without any attack.
        cutmix: Parameter of CutMix (Yun et al., 2019; 1 in the paper): a box of another image of the batch is pasted
            into each image, before any attack, and the labels are mixed by area; None for none.
    """
    from advtransfer_vision.trained_sources import Architecture, TrainedSource

    return TrainedSource(
        architecture=Architecture(chosen_network(network, width=width), data.card()),
        data=data,
        adversary=adversary,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        label_noise=label_noise,
        validation=validation,
        images=images,
        kept_epoch=checkpoint,
        averaging=averaging,
        cutmix=cutmix,
    )


@precheck(outline=outlines.network_outline, check=outlines.check_network)
@component(
    shape="data",
    tasks=("classes", "attributes", "values"),
    drawn=True,
    example={"network": {"name": "small_cnn", "width": 4}},
)
def random_init(
    *,
    data: Dataset,
    network: NetworkName | NetworkOption = "small_cnn",
    width: Annotated[int, Ge(1)] = 16,
    seed: Annotated[int, Ge(0)] = 0,
) -> Source:
    """The untrained control: the network that `trained` starts from with the same seed.

    Args:
        data: The data set that gives the network's input shape and classes; none of its images is used.
        network: The architecture, as in `trained`.
        width: Channels of small_cnn's first block, as in `trained`.
        seed: Seed of the weights; as an option of a transfer, they depend on the target's subset as well.
    """
    from advtransfer_vision.trained_sources import Architecture, RandomInitSource

    return RandomInitSource(
        architecture=Architecture(chosen_network(network, width=width), data.card())
    )


@precheck(outline=outlines.perturbed_outline, check=outlines.check_perturbed)
@component(shape="source", tasks=("classes", "attributes", "values"), example={"scale": 0.1})
def perturbed(
    *,
    source: Source,
    data: Dataset,
    scale: Annotated[float, Ge(0)],
    seed: Annotated[int, Ge(0)] = 0,
    noise: Annotated[Literal["normal", "uniform"], Since(1)] = "normal",
) -> Source:
    """Another source with noise on its weights: a control that lowers a source's quality by degrees.

    Noise is added to each parameter: Gaussian, with a standard deviation of `scale` times that of the parameter's
    entries, or uniform; then batch normalisation measures its statistics again.

    Args:
        source: The source to perturb, an entry of the suite; it is built once for all sources that perturb it.
        data: The data set whose train part batch normalisation measures its statistics on.
        scale: Size of the noise, in standard deviations or in widths of the interval; 0 only measures the statistics
            again.
        seed: Seed of the noise; with the same seed, a larger scale goes further in the same direction.
        noise: ``normal``, with the spread of each parameter's entries, or ``uniform``: ``scale * U[-0.5, 0.5]`` for
            every entry, whatever its parameter, as in the released synthetic experiment of Liang et al. (2021).
    """
    from advtransfer_vision.weight_noise import PerturbedSource

    return PerturbedSource(source=source, data=data, scale=scale, distribution=noise)


SOURCES: tuple[Factory[Source], ...] = (trained, random_init, perturbed)
