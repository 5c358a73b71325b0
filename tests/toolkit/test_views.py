from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArrayDataset, all_positions
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import DataCard, Dataset, Part, Samples


def _inputs(samples: Samples) -> torch.Tensor:
    return samples.inputs(all_positions(samples))


def _labels(samples: Samples) -> list[int]:
    labels: list[int] = samples.labels(all_positions(samples)).tolist()
    return labels


def _colours() -> Dataset:
    pixels = torch.tensor([0.0, 0.3, 0.9]).reshape(1, 3, 1, 1).expand(2, 3, 2, 2)
    return ArrayDataset({"test": (pixels, torch.tensor([0, 1]))}, names=["a", "b"])


def test_a_view_without_changes_is_the_data_set_itself() -> None:
    dataset = toy()

    assert dataset is view_dataset(dataset)


def test_classes_are_kept_and_renumbered_in_the_given_order() -> None:
    dataset = toy(classes=4, train=8)
    seen = view_dataset(dataset, classes=[3, 1]).part("train")

    assert [1, 0, 1, 0] == _labels(seen)
    assert [1, 3, 5, 7] == list(seen.keys)
    assert _inputs(seen).equal(dataset.part("train").inputs(torch.tensor([1, 3, 5, 7])))


def test_the_card_describes_the_view() -> None:
    base = toy(classes=4).card()
    seen = view_dataset(toy(classes=4), classes=[3, 1], channels=3, size=8)
    card = seen.card()

    assert ((3, 8, 8), 2, ("pattern 3", "pattern 1")) == (card.shape, card.outputs, card.names)
    assert (base.bounds, base.task) == (card.bounds, card.task)
    assert card == seen.part("train").card


def test_the_digest_depends_on_the_data_and_the_view_alone() -> None:
    digests = {
        view_dataset(toy(seed=seed), classes=classes, size=size).card().digest
        for seed in (0, 1)
        for classes in (None, [0, 1], [1, 0])
        for size in (None, 8)
    }

    assert 12 == len(digests)
    assert view_dataset(toy(), size=8).card().digest in digests


def test_one_channel_is_the_mean_over_channels() -> None:
    grey = view_dataset(_colours(), channels=1)

    assert (1, 2, 2) == grey.card().shape
    assert torch.full((2, 1, 2, 2), 0.4).allclose(_inputs(grey.part("test")))


def test_three_channels_are_one_repeated() -> None:
    base = _inputs(toy().part("test"))
    seen = _inputs(view_dataset(toy(), channels=3).part("test"))

    assert torch.cat([base, base, base], dim=1).equal(seen)


def test_a_view_with_the_same_channels_changes_nothing() -> None:
    assert _inputs(_colours().part("test")).equal(
        _inputs(view_dataset(_colours(), channels=3).part("test"))
    )


def test_halving_the_size_of_a_constant_image_keeps_it() -> None:
    seen = view_dataset(_colours(), size=1).part("test")

    assert torch.tensor([0.0, 0.3, 0.9]).allclose(_inputs(seen)[0].flatten())


def test_shrinking_averages_all_pixels_not_the_nearest_four() -> None:
    dark_centres = torch.tensor([1.0, 0.0, 0.0, 1.0] * 2).repeat(1, 1, 8, 1)
    dataset = ArrayDataset({"test": (dark_centres, torch.tensor([0]))}, names=["a"])
    shrunk = _inputs(view_dataset(dataset, size=2).part("test"))

    assert shrunk.min() > 0.3


def test_resized_images_stay_in_the_bounds() -> None:
    white = ArrayDataset({"test": (torch.ones(1, 1, 7, 7), torch.tensor([0]))}, names=["a"])

    # at these sizes the weights of the interpolation add up to a little more than 1
    assert 1.0 == _inputs(view_dataset(white, size=3).part("test")).max()


def test_only_classes_can_be_chosen_among() -> None:
    @dataclass(frozen=True)
    class Attributes:
        def card(self) -> DataCard:
            return replace(toy().card(), task="attributes")

        def part(self, name: Part) -> Samples:
            return toy().part(name)

    with pytest.raises(
        ValueError, match=r"found classes \[0\] for the task 'attributes'; expected none"
    ):
        view_dataset(Attributes(), classes=[0])


def test_an_image_has_the_same_pixels_alone_and_in_a_batch() -> None:
    part = view_dataset(toy(shape=(3, 7, 7)), channels=1, size=5).part("test")
    alone = torch.cat([part.inputs(torch.tensor([position])) for position in range(len(part))])

    assert alone.equal(_inputs(part))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"classes": [0, 3]}, r"found classes \[0, 3\]; expected distinct labels from 0 to 2"),
        ({"classes": [0, 0]}, "expected distinct labels"),
        ({"classes": []}, "at least one"),
        ({"classes": [-1]}, "expected distinct labels"),
        ({"channels": 2}, r"found channels 2 over shape \(1, 4, 4\); expected 1, or 3"),
        ({"size": 0}, "found size 0; expected at least 1 pixel"),
    ],
)
def test_a_view_that_does_not_fit_is_refused(
    asked: dict[str, Any], message: str
) -> None:  # Any: wrong on purpose
    with pytest.raises(ValueError, match=message):
        view_dataset(toy(), **asked)


def _attributes() -> Dataset:
    """Three samples with two attributes."""
    labels = torch.tensor([[0, 1], [1, 1], [1, 0]])
    inputs = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 2, 2) / 3
    return ArrayDataset({"test": (inputs, labels)}, names=["smiling", "young"], task="attributes")


@pytest.mark.parametrize(
    ("attribute", "labels", "names"),
    [
        ("smiling", [0, 1, 1], ("no smiling", "smiling")),
        (1, [1, 1, 0], ("no young", "young")),
        ("young", [1, 1, 0], ("no young", "young")),
    ],
)
def test_one_attribute_is_two_classes(
    attribute: str | int, labels: list[int], names: tuple[str, str]
) -> None:
    view = view_dataset(_attributes(), attribute=attribute, size=4)
    part = view.part("test")

    assert labels == _labels(part)
    assert part.labels(torch.tensor([0])).dtype == torch.int64
    assert ("classes", 2, names, (1, 4, 4)) == (
        view.card().task,
        view.card().outputs,
        view.card().names,
        view.card().shape,
    )
    assert [0, 1, 2] == list(part.keys)


def test_attribute_is_part_of_the_digest_by_its_number() -> None:
    first, same, other = (
        view_dataset(_attributes(), attribute=attribute).card().digest
        for attribute in (0, "smiling", 1)
    )

    assert first == same
    assert 3 == len({first, other, _attributes().card().digest})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"attribute": 2},
            "found attribute 2; expected one of smiling, young, or a number from 0 to 1",
        ),
        ({"attribute": "old"}, "found attribute 'old'; expected one of smiling, young"),
        ({"attribute": -1}, "found attribute -1; expected one of"),
        ({"attribute": 0, "classes": [1, 0]}, r"found classes \[1, 0\] for the task 'attributes'"),
    ],
)
def test_an_unknown_attribute_is_refused(
    asked: dict[str, Any], message: str
) -> None:  # Any: wrong on purpose
    with pytest.raises(ValueError, match=message):
        view_dataset(_attributes(), **asked)


def test_classes_have_no_attribute() -> None:
    with pytest.raises(ValueError, match="found attribute 0 for the task 'classes'"):
        view_dataset(toy(), attribute=0)
