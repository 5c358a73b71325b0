"""Class shares, digests and machines that were forged in some places are held to the others."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from advtransfer.publication.shared_facts import Facts, board_facts, fact_faults
from advtransfer.result import Run
from advtransfer.result.record import pack_outcomes
from advtransfer.types import Outcome

Record: TypeAlias = dict[str, Any]  # Any: JSON
Records: TypeAlias = list[Record]

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
QUICKSTART = RESULTS / "quickstart" / "advtransfer"
TEST_IMAGES = 269
LARGEST = 55 / TEST_IMAGES


@pytest.fixture(scope="module")
def honest() -> Records:
    return [dict(record) for record in Run(QUICKSTART).read_records()]


@pytest.fixture(scope="module")
def environments() -> Mapping[str, Record]:
    return {id: dict(each) for id, each in Run(QUICKSTART).read_environments().items()}


@pytest.fixture(scope="module")
def board(honest: Records) -> Facts:
    inputs = [record["asked"]["inputs"] for record in honest]
    subjects = {each[role] for each in inputs for role in ("test", "subset") if role in each}
    return board_facts(honest, subjects)


def of_kind(records: Records, kind: str, use: str = "") -> Records:
    return [each for each in records if each["kind"] == kind and use in each["asked"]["use"]]


def clean_results(records: Records) -> Records:
    return of_kind(records, "result", "clean_accuracy")


def one_share(records: Records) -> None:
    clean_results(records)[0]["labels"]["largest_class"] = 27 / TEST_IMAGES


def no_whole_number(records: Records) -> None:
    for record in of_kind(records, "result"):
        if record.get("labels"):
            record["labels"]["largest_class"] = 0.1


def no_labels(records: Records) -> None:
    model = clean_results(records)[0]["asked"]["inputs"]["model"]
    for record in of_kind(records, "result"):
        if record["asked"]["inputs"]["model"] == model:
            record.pop("labels", None)


def too_many_right(records: Records) -> None:
    """A good model is said to predict one class, so that it drops out."""
    for record in of_kind(records, "result"):
        if record.get("labels"):
            record["labels"]["one_class"] = True


def weights_of_a_result(records: Records) -> None:
    of_kind(records, "result")[0]["provenance"]["weights"]["model"] = "1" * 64


def weights_of_a_battery(records: Records) -> None:
    of_kind(records, "battery")[0]["provenance"]["weights"]["model"] = "1" * 64


def weights_of_a_fit(records: Records) -> None:
    of_kind(records, "fit")[0]["weights"]["digest"] = "1" * 64


def source_of_a_fit(records: Records) -> None:
    of_kind(records, "fit")[0]["provenance"]["weights"]["source"] = "1" * 64


def weights_of_a_source(records: Records) -> None:
    source = of_kind(records, "source")[0]
    source["weights"]["digest"] = source["provenance"]["weights"]["source"] = "1" * 64


def no_weights(records: Records) -> None:
    del of_kind(records, "result")[0]["provenance"]["weights"]["model"]


def data_of_a_result(records: Records) -> None:
    of_kind(records, "result")[0]["provenance"]["data"]["test"] = "1" * 64


def data_of_a_source(records: Records) -> None:
    of_kind(records, "source")[0]["provenance"]["data"]["data"] = "1" * 64


def no_data(records: Records) -> None:
    of_kind(records, "fit")[0]["provenance"]["data"] = {}


def device(records: Records) -> None:
    of_kind(records, "fit")[0]["provenance"]["device"] = "cuda:0"


def threads(records: Records) -> None:
    of_kind(records, "battery")[0]["provenance"]["threads"] = 2


def precision(records: Records) -> None:
    of_kind(records, "source")[0]["provenance"]["precision"] = "bfloat16"


def kernel_batch(records: Records) -> None:
    of_kind(records, "source")[0]["provenance"]["kernel_batch"] = 96


def halved(records: Records) -> None:
    of_kind(records, "battery")[0]["provenance"]["halved_kernel_batch"] = 64


FORGERIES: Mapping[Callable[[Records], None], str] = {
    one_share: "found largest_class 0.100372; expected 0.204461, that of the other records",
    no_whole_number: "found largest_class 0.1; expected a share of 269 images",
    no_labels: "found no labels",
    too_many_right: "found one_class with",
    weights_of_a_result: "expected .*, that in the model's own record",
    weights_of_a_battery: "found weights 111111111111",
    weights_of_a_fit: "expected 111111111111, that in the model's own record",
    source_of_a_fit: "found weights 111111111111",
    weights_of_a_source: "expected 111111111111, that in the model's own record",
    no_weights: "found no digest of the weights of model",
    data_of_a_result: "found data of test 111111111111",
    data_of_a_source: "found data of data 111111111111",
    no_data: "found no digest of the data of subset",
    device: "found device 'cuda'; expected 'cpu', as its environment says",
    threads: "found threads '2'; expected '1'",
    kernel_batch: "found kernel_batch 96; expected None, as its environment says",
    halved: "found halved_kernel_batch 64; expected None, as its environment says",
    precision: "found precision 'bfloat16'; expected 'float32'",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_fact_that_is_forged_in_some_places_is_found(
    forge: Callable[[Records], None], honest: Records, environments: Mapping[str, Record]
) -> None:
    records = copy.deepcopy(honest)
    forge(records)
    texts = [fault.text for fault in fact_faults(records, environments, None)]

    assert any(_matches(FORGERIES[forge], text) for text in texts), texts


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


@pytest.mark.parametrize("suite", sorted(path.name for path in RESULTS.iterdir()))
def test_what_was_published_agrees_with_itself_and_its_own_facts(suite: str) -> None:
    run = Run(RESULTS / suite / "advtransfer")
    records = list(run.read_records())
    subjects = [id for record in records for id in _ids(record)]
    facts = board_facts(records, subjects)

    assert [] == list(fact_faults(records, run.read_environments(), None))
    assert [] == list(fact_faults(records, run.read_environments(), facts))
    assert facts


def _ids(record: Mapping[str, Any]) -> list[str]:  # Any: JSON
    inputs = record["asked"]["inputs"]
    return [inputs[role] for role in ("test", "subset") if role in inputs]


def lower_every_share(records: Records) -> None:
    """The floor of the front, and what `did not learn` is told by: half of what it is, everywhere."""
    for record in of_kind(records, "result"):
        if record.get("labels"):
            record["labels"]["largest_class"] = 27 / TEST_IMAGES


def drop_every_label(records: Records) -> None:
    for record in of_kind(records, "result"):
        record.pop("labels", None)


def other_test_data(records: Records) -> None:
    for record in records:
        if "test" in record["provenance"]["data"]:
            record["provenance"]["data"]["test"] = "1" * 64


def other_subsets(records: Records) -> None:
    for record in of_kind(records, "fit"):
        record["provenance"]["data"]["subset"] = "1" * 64


EVERYWHERE: Mapping[Callable[[Records], None], tuple[str, int]] = {
    lower_every_share: ("found largest_class 0.100372; expected 0.204461, that of the board", 96),
    drop_every_label: ("found no labels", 96),
    other_test_data: ("found data of test 111111111111; expected .*, that of the board", 192),
    other_subsets: ("found data of subset 111111111111; expected .*, that of the board", 48),
}


@pytest.mark.parametrize("forge", EVERYWHERE, ids=lambda forge: forge.__name__)
def test_a_fact_that_is_forged_everywhere_is_held_to_the_board(
    forge: Callable[[Records], None],
    honest: Records,
    environments: Mapping[str, Record],
    board: Facts,
) -> None:
    records = copy.deepcopy(honest)
    forge(records)
    pattern, count = EVERYWHERE[forge]
    faults = [
        fault
        for fault in fact_faults(records, environments, board)
        if _matches(pattern, fault.text)
    ]

    assert count == len(faults)
    # Without a board nothing contradicts it, which is why the board keeps it.
    assert not any(
        _matches(pattern, each.text) for each in fact_faults(records, environments, None)
    )


def test_facts_of_a_board_are_those_of_its_targets_and_subsets(board: Facts) -> None:
    (target,) = [facts for facts in board.values() if "largest_class" in facts]

    assert LARGEST == target["largest_class"]
    assert TEST_IMAGES == target["images"]
    assert {"data of train", "data of subset"} == set.union(
        *(set(facts) for facts in board.values() if facts is not target)
    )


def result(name: str, correct: range, *, one_class: bool) -> Record:
    """Return a result of 10 images, of which some are right without attack."""
    outcomes = [Outcome.ROBUST if index in correct else Outcome.WRONG for index in range(10)]
    return {
        "id": name,
        "kind": "result",
        "asked": {"inputs": {"model": f"model of {name}", "test": "t"}},
        "provenance": {"data": {"test": "d"}, "weights": {"model": name}, "environment": "e"},
        "outcomes": {"accuracy": pack_outcomes(outcomes)},
        "labels": {"largest_class": 0.4, "one_class": one_class},
    }


@pytest.mark.parametrize(
    ("correct", "one_class", "expected"),
    [
        (range(4, 7), True, None),
        (range(4), True, None),
        (range(3, 6), True, "which no other class shares"),
        (range(4), False, "as of another model that is right on the same images"),
        (range(5), True, "found one_class with 5 images right; expected 1 to 4"),
        (range(0), True, "found one_class with 0 images right"),
        (range(5), False, None),
    ],
)
def test_two_classes_share_no_image(correct: range, one_class: bool, expected: str | None) -> None:
    first = result("first", range(4), one_class=True)
    second = result("second", correct, one_class=one_class)
    texts = [fault.text for fault in fact_faults([first, second], {}, None)]

    assert (expected is None) == (not texts)
    assert expected is None or any(expected in text for text in texts)
