"""Options that the labelled images choose: known best candidates, folds, streams, kills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer import runner, suite
from advtransfer.errors import Diverged
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.result import Run
from advtransfer.runner.settings import RunSettings
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.subset import stratified_folds
from advtransfer.types import (
    Context,
    DataCard,
    Dataset,
    Factory,
    Fitted,
    Network,
    Part,
    Samples,
    Transfer,
    component,
)
from advtransfer.worker import object_builder

SUITE = """\
version: 1
datasets: {{d: {{use: odd/poisoned}}}}
targets: {{t: {{data: d, n: [40], seeds: 1, validation: {share}, test: 20}}}}
transfers:
  tr: {{use: odd/means, {options}}}
evaluations: {{clean: {{use: foolbox/clean_accuracy}}}}
"""
POISON: list[bool] = []
FITS: list[tuple[float, int, float]] = []
"""Sign, number of training images and first draw of each fit of this process."""
SAVED: list[float | None] = []
"""Sign in the training state that each fit found."""
FAILURES: list[int] = []
"""Numbers of fits, from 1, that fail once."""


@dataclass(frozen=True)
class Poisoned:
    """Digits 0 and 1, whose test labels are swapped while `POISON` is not empty."""

    digits: Dataset

    def card(self) -> DataCard:
        return self.digits.card()

    def part(self, name: Part) -> Samples:
        samples = self.digits.part(name)
        return Swapped(samples) if POISON and name == "test" else samples


@dataclass(frozen=True)
class Swapped:
    samples: Samples

    @property
    def card(self) -> DataCard:
        return self.samples.card

    @property
    def keys(self) -> Sequence[int]:
        return self.samples.keys

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, positions: Tensor) -> Tensor:
        return self.samples.inputs(positions)

    def labels(self, positions: Tensor) -> Tensor:
        return 1 - self.samples.labels(positions)


@component(shape=(1, 8, 8))
def poisoned() -> Dataset:
    """Digits 0 and 1."""
    from advtransfer.toolkit.views import view_dataset
    from advtransfer_vision.components.datasets import digits

    return Poisoned(view_dataset(digits(), classes=[0, 1], channels=None, size=None))


@dataclass(frozen=True)
class Means:
    """The nearest class mean, times a sign; 0 predicts the first class alone."""

    sign: float

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        if self.sign > 100:
            raise Diverged(1, float("nan"))
        assert validation is None
        draw = torch.rand((), generator=context.generator("draw")).item()
        FITS.append((self.sign, len(train), draw))
        saved = context.saved()
        SAVED.append(None if saved is None else saved["sign"].item())
        context.save({"sign": torch.tensor(self.sign)})
        if len(FITS) in FAILURES:
            raise RuntimeError("killed by the test")
        images = train.inputs(all_positions(train)).flatten(1)
        labels = train.labels(all_positions(train))
        means = torch.stack([images[labels == label].mean(0) for label in (0, 1)])
        layer = cast(nn.Linear, model.get_submodule("1"))
        with torch.no_grad():
            layer.weight.copy_(self.sign * means)
            layer.bias.copy_(-self.sign * means.square().sum(1) / 2)
            layer.bias[0] += 1 if self.sign == 0 else 0
        return Fitted(facts={"draw": draw})


@component()
def means(*, sign: float = -1.0, note: str = "") -> Transfer:
    """Class means."""
    return Means(sign)


@hookimpl
def register_datasets() -> list[Factory[Dataset]]:
    """The data of this file."""
    return [poisoned]


@hookimpl
def register_transfers() -> list[Factory[Transfer]]:
    """The transfer of this file."""
    return [means]


@pytest.fixture(autouse=True)
def empty_lists() -> Iterator[None]:
    for values in (POISON, FITS, SAVED, FAILURES):
        values.clear()
    yield
    object_builder._cached_dataset.cache_clear()


class RunFit(Protocol):
    """Run the suite with these options of its transfer and return the record of its fit."""

    def __call__(
        self, options: str, *, share: float = 0.25, folder: str = "a"
    ) -> dict[str, Any]:  # Any: JSON of records
        """Return the record, empty where the fit failed."""
        ...


@pytest.fixture
def go(host: Host, tmp_path: Path) -> RunFit:
    """Run the suite with these options of its transfer and return the record of its fit."""

    def run(
        options: str, *, share: float = 0.25, folder: str = "a"
    ) -> dict[str, Any]:  # Any: as above
        path = tmp_path / "one.yaml"
        path.write_text(SUITE.format(options=options, share=share))
        settings = RunSettings(
            executor="local/inline",
            runs=tmp_path / f"runs {folder}",
            cache=tmp_path / f"cache {folder}",
            retry_failed=True,
        )
        object_builder._cached_dataset.cache_clear()
        finished = runner.run_suite(suite.load(str(path), host), settings=settings, host=host)
        records = cast("list[dict[str, Any]]", list(Run(finished.run).read_records()))
        (record,) = [record for record in records if record["kind"] == "fit"] or [{}]
        return record

    return run


def choose(signs: str, *, by: str = "accuracy", more: str = "") -> str:
    return f"choose: {{by: validation.{by}, among: {{sign: {signs}}}{more}}}"


def test_the_planted_best_candidate_is_chosen_and_fitted_again_on_all_images(
    go: RunFit,
) -> None:
    record = go(choose("[-1.0, 1.0, 0.0]"))

    assert {"sign": 1.0} == record["chosen"]
    rows = [row for row in record["curves"] if "candidate" in row]
    assert [1, 2, 3] == [row["candidate"] for row in rows]
    assert rows[1]["validation_accuracy"] == record["facts"]["validation_accuracy"] == 1.0
    assert rows[0]["validation_accuracy"] == 0.0
    assert 40 == record["facts"]["labels_used"]
    assert [30, 30, 30, 40] == [count for _, count, _ in FITS]


@pytest.mark.parametrize("share", [0, 0.25])
def test_the_chosen_model_is_that_of_an_entry_with_the_chosen_option(
    go: RunFit, share: float
) -> None:
    chosen = go(choose("[-1.0, 1.0]", more=", folds: 4"), share=share)
    alone = go("sign: 1.0", share=0, folder="b")

    assert alone["weights"] == chosen["weights"]
    assert alone["facts"]["draw"] == chosen["facts"]["draw"]


def test_folds_hold_out_every_image_once_with_its_share_of_the_classes(
    go: RunFit,
) -> None:
    record = go(choose("[-1.0, 1.0]", more=", folds: 4"), share=0)

    assert [30] * 8 + [40] == [count for _, count, _ in FITS]
    assert 4 == record["facts"]["folds"]
    labels = torch.tensor([0] * 5 + [1] * 9)
    splits = stratified_folds(labels, 4, generator=torch.Generator().manual_seed(0))
    assert list(range(14)) == sorted(torch.cat([split.held_out for split in splits]).tolist())
    for split in splits:
        assert list(range(14)) == sorted([*split.fitted.tolist(), *split.held_out.tolist()])
        counts = labels[split.held_out].bincount(minlength=2).tolist()
        assert counts[0] in (1, 2)
        assert counts[1] in (2, 3)


def test_draws_of_a_candidate_do_not_depend_on_the_others_or_on_their_order(
    go: RunFit,
) -> None:
    go(choose("[1.0, -1.0]", more=", folds: 2"), share=0)
    first = {fit for fit in FITS if fit[1] == 20}
    FITS.clear()
    go(choose("[0.0, -1.0, 2.0, 1.0]", more=", folds: 2"), share=0, folder="b")

    assert first <= set(FITS)
    assert 4 == len(first)
    assert 2 == len({draw for *_, draw in first})


def test_robust_accuracy_chooses_another_candidate_than_accuracy(
    go: RunFit,
) -> None:
    # The first class alone cannot be attacked; class means are right, and far from robust.
    attack = ", attack: {norm: linf, eps: 0.6, steps: 5}"
    robust = go(choose("[1.0, 0.0]", by="robust_accuracy", more=attack))
    clean = go(choose("[1.0, 0.0]"), folder="b")

    assert {"sign": 0.0} == robust["chosen"]
    assert {"sign": 1.0} == clean["chosen"]
    scores = {row["candidate"]: row for row in robust["curves"]}
    assert scores[1]["robust_validation_accuracy"] == 0.0
    assert scores[2]["robust_validation_accuracy"] > 0.2
    assert scores[2]["validation_accuracy"] == pytest.approx(
        scores[2]["robust_validation_accuracy"]
    )


def test_the_test_part_is_never_read(go: RunFit) -> None:
    clean = go(choose("[-1.0, 1.0]"))
    POISON.append(True)
    poisoned = go(choose("[-1.0, 1.0]"), folder="b")

    assert {"sign": 1.0} == poisoned["chosen"]
    for record in (clean, poisoned):
        del record["observed"], record["provenance"]
    assert clean == poisoned


def test_killed_choice_goes_on_with_the_candidates_that_are_left(
    go: RunFit,
) -> None:
    options = choose("[-1.0, 1.0, 0.0]", more=", folds: 3")
    whole = go(options, share=0, folder="whole")
    count = len(FITS)
    FITS.clear()
    FAILURES.extend([5, 9, 12])
    for _ in range(3):
        assert {} == go(options, share=0)
    resumed = go(options, share=0)

    # Each failure costs its own fit alone.
    assert count + 3 == len(FITS)
    for record in (whole, resumed):
        del record["observed"]
    assert whole == resumed


def test_candidate_goes_on_from_its_own_training_state_alone(go: RunFit, tmp_path: Path) -> None:
    def saved_files() -> list[Path]:
        return [path for path in (tmp_path / "cache a" / "saved").rglob("*") if path.is_file()]

    FAILURES.extend([2, 5])
    go(choose("[-1.0, 1.0, 2.0]"))
    assert 1 == len(saved_files())
    for _ in range(2):
        record = go(choose("[-1.0, 1.0, 2.0]"))

    # The second fit failed and found its state again, and so did the last, on all images.
    assert [-1.0, 1.0, 1.0, 2.0, 1.0, 1.0] == [sign for sign, *_ in FITS]
    assert [None, None, 1.0, None, None, 1.0] == SAVED
    assert {"sign": 1.0} == record["chosen"]
    assert [] == saved_files()


def test_candidate_that_diverges_is_not_chosen(go: RunFit) -> None:
    record = go(choose("[1000.0, 0.0]"))

    assert {"sign": 0.0} == record["chosen"]
    assert {"candidate": 1, "diverged": 1.0} == record["curves"][0]


def test_all_candidates_that_diverge_make_no_fit(go: RunFit) -> None:
    assert {} == go(choose("[1000.0, 2000.0]"))


def test_first_of_equal_candidates_is_chosen(go: RunFit) -> None:
    assert {"sign": 2.0} == go(choose("[2.0, 1.0, 3.0]"))["chosen"]
