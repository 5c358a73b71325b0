from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch

from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, Shape, Source
from advtransfer_vision.components import training
from advtransfer_vision.data_changes import subsample_images

TOY = toy(shape=(1, 8, 8))


def _seen(context: InMemoryContext, **options: object) -> set[int]:
    """The keys of the images that a source is trained on, as its augmentation asks for them."""
    augmented: set[int] = set()
    drawn = context.uniform

    def watch(
        stream: str, keys: Sequence[int], shape: Shape, restart: int = 0, step: int = 0
    ) -> torch.Tensor:
        if stream == "augment":
            augmented.update(keys)
        return drawn(stream, keys, shape, restart, step)

    context.uniform = watch  # type: ignore[method-assign]  # only to look on
    factory = Host.discover().component("vision/trained").factory
    source = cast(Source, factory(data=TOY, width=2, epochs=1, augment=("flip",), **options))
    source.weights(context)
    return augmented


def test_fewer_images_are_the_same_for_every_seed_and_contained_in_more() -> None:
    few, again, more = (
        _seen(InMemoryContext(seed), images=images) for seed, images in ((0, 9), (1, 9), (0, 24))
    )

    assert few == again
    assert few < more
    assert (9, 24) == (len(few), len(more))
    assert [3, 3, 3] == torch.bincount(torch.tensor(sorted(few)) % 3).tolist()


def test_validation_is_a_share_of_the_fewer_images() -> None:
    trained_on = _seen(InMemoryContext(), images=24, validation=0.25)

    assert 18 == len(trained_on)
    assert trained_on < _seen(InMemoryContext(), images=24)


def test_card_mentions_fewer_images() -> None:
    described = f"3 classes (pattern 0, pattern 1, pattern 2), digest {TOY.card().digest[:12]}, 9 of its images"

    assert described == training.trained(data=TOY, images=9).card().data


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (61, "found images 61; expected at most the 60 there are; lower images"),
        (
            1,
            "found images 1, which leave no image of class [0-2], [0-2]; expected at least one of each class",
        ),
    ],
)
def test_fewer_images_that_cannot_be_drawn_are_refused(images: int, message: str) -> None:
    source = training.trained(data=TOY, images=images)
    with pytest.raises(ValueError, match=message):
        source.weights(InMemoryContext())


def test_fewer_images_without_classes_are_drawn_from_all() -> None:
    inputs = torch.rand(20, 3, generator=torch.Generator())
    samples = ArraySamples(
        card=DataCard((3,), None, "values", 2, (), "digest"), inputs=inputs, labels=inputs[:, :2]
    )

    assert 5 == len(subsample_images(samples, count=5))
