"""How far a target's images are from another data set, by features of one fixed network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import in_eval_mode
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.toolkit.views import change_channels, resize_images
from advtransfer.types import (
    Context,
    DataCard,
    Dataset,
    EvaluationInputs,
    Measurement,
    Part,
    Samples,
    Shape,
    Source,
)
from advtransfer_alignment.set_distances import (
    bootstrap_interval,
    frechet_distance,
    median_width,
    mmd_distance,
)

MIN_IMAGES = 4
"""Images of a set: unbiased estimates need pairs, and resamples more than one image."""


@dataclass(frozen=True, slots=True)
class DatasetDistance:
    """An evaluation of the distance between the target's test images and another data set.

    Args:
        data: The other data set.
        network: The network whose features are compared.
        part: Part of the other data set.
        images: Largest number of images of each set.
        resamples: Resamples behind the intervals.
    """

    data: Dataset
    network: Source
    part: Part
    images: int
    resamples: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return both distances with their intervals, and the width of the kernel.

        Raises:
            Inapplicable: A set has no images, or too few.
        """
        network = self._loaded_network(context)
        shape = self.network.card().shape
        other = self.data.part(self.part)
        first = self._features(
            network, given.test, shape, context.generator("test images"), context
        )
        second = self._features(network, other, shape, context.generator("other images"), context)
        width = median_width(first, second)
        counts = (len(first), len(second))
        metrics: dict[str, float] = {"width": width}
        distances = {
            "mmd2": mmd_distance(first, second, width),
            "frechet": frechet_distance(first, second),
        }
        for name, distance in distances.items():
            estimate = bootstrap_interval(
                distance,
                counts,
                resamples=self.resamples,
                generator=context.generator("resamples"),
            )
            metrics |= {
                name: estimate.value,
                f"{name}_low": estimate.low,
                f"{name}_high": estimate.high,
            }
        return Measurement(metrics=metrics)

    def _loaded_network(self, context: Context) -> nn.Module:
        """Return the network with its weights, which are made at most once for all targets."""

        def build() -> dict[str, Tensor]:
            return dict(self.network.weights(context).tensors)

        network = cast(nn.Module, self.network.network())
        network.load_state_dict(context.remember("fixed network", {}, build, of=("network",)))
        return network.to(context.device)

    def _features(
        self,
        network: nn.Module,
        samples: Samples,
        shape: Shape,
        generator: torch.Generator,
        context: Context,
    ) -> Tensor:
        """Return the features ``(N, d)`` float32 of a draw of images, on the CPU."""
        _require_images(samples)
        positions = torch.randperm(len(samples), generator=generator)[: self.images]
        inputs = fit_images(samples.inputs(positions), samples.card, shape)
        features = cast(Callable[[Tensor], Tensor], network.features)
        with torch.no_grad(), in_eval_mode(network):
            rows = apply_in_chunks(features, inputs.to(context.device))
        return rows.flatten(1).float().cpu()


def _require_images(samples: Samples) -> None:
    if len(samples.card.shape) != 3:
        raise Inapplicable("a distance of features needs images (C, H, W)")
    if len(samples) < MIN_IMAGES:
        raise Inapplicable(
            f"a distance needs {MIN_IMAGES} images of each data set; one has {len(samples)}"
        )


def fit_images(inputs: Tensor, card: DataCard, shape: Shape) -> Tensor:
    """Return images ``(B, C, H, W)`` in a network's shape, as the host's views make them.

    A channel is the mean of three, or repeated; images are resized bilinearly with antialiasing, and clipped to the
    card's bounds.

    Raises:
        ValueError: The channels cannot be made from those of the images.
    """
    channels, height, width = shape
    if inputs.shape[1] != channels:
        if {inputs.shape[1], channels} != {1, 3}:
            raise ValueError(
                f"found images of {inputs.shape[1]} channels; expected {channels}, as the network has; "
                "name another network, or give the data set a view"
            )
        inputs = change_channels(inputs, channels)
    if inputs.shape[2:] != (height, width):
        inputs = resize_images(inputs, (height, width), card.bounds)
    return inputs.contiguous()
