"""A suite that uses most of the grammar: adapters, replicates, references, presets, ladders, sourceless transfers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from advtransfer import planning
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.suite import Suite, load, shipped_suites
from advtransfer.types import Adapter, Dataset, Evaluation, File, Source, Transfer, component

SUITE = """\
version: 1
title: Does robustness transfer through input gradients?

datasets:
  mnist_low: {use: vision/torchvision, name: MNIST, classes: [0, 1, 2, 3, 4]}
  mnist_high: {use: vision/torchvision, name: MNIST, classes: [5, 6, 7, 8, 9]}
  cifar:
    use: vision/npz
    file: CIFAR10_subset/cifar10_10k_2k.npz
    sha256: 6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37

defaults:
  vision/trained: {network: mnist_2conv, data: mnist_low, epochs: 10}
  igam/igam: {student: small_cnn, gradient_of: loss, reduction: sample_mean, epochs: 10}

sources:
  robust: {use: vision/trained, adversary: {norm: linf, eps: 0.2, steps: 5}, seeds: 3}
  natural: {use: vision/trained, seeds: 3}

adapters:
  gray_crop:
    use: adapters/chain
    parts: [{use: adapters/channel_mean}, {use: adapters/centre_crop}]
    only: {target: cifar}
  gray_shrink:
    use: adapters/chain
    parts: [{use: adapters/channel_mean}, {use: adapters/resize}]
    only: {target: cifar}

targets:
  mnist_5_9:
    data: mnist_high
    subsets:
      - {n: [500, 2000], seeds: 3}
      - {n: [all], seeds: [0]}
    test: 1000
    reference: {use: vision/trained, data: mnist_high, network: small_cnn, seeds: 2}
  cifar:
    data: cifar
    n: [all]
    seeds: {rule: utrera2021, count: 2}
    validation: 0.1
    test: 500

transfers:
  igam: {use: igam/igam, lambda_adv: 0.1, lambda_diff: 1.0}
  igam_paper: {use: igam/igam, preset: cifar10-mnist, only: {target: cifar}}
  penalty: {use: igam/igam, match: zero, lambda_diff: 1.0, only: {source: robust}}
  teacher: {use: finetune/blocks, blocks: 0, batch_norm: freeze, epochs: 100}
  standard: {use: finetune/scratch, network: small_cnn}
  pgd7: {use: finetune/adversarial, network: small_cnn, norm: linf, eps: 0.2, steps: 7}

evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: [0.05, 0.1, 0.2], steps: 40, step_size: 0.0125, restarts: 2}
  alignment: {use: alignment/alpha, norm: linf, eps: 0.1, steps: 10, step_size: 0.02, only: {target: mnist_5_9}}

exclude:
  - {transfer: igam*, n: [500]}

leaderboard:
  baseline: {transfer: standard}
  rank_by: pgd.robust_accuracy@0.2
  columns: [clean.accuracy, pgd.robust_accuracy@0.1, pgd.robust_accuracy@0.2, alignment.alpha_1_ts]
  questions:
    - {predictor: alignment.alpha_1_ts, outcome: clean.accuracy, across: source, given: {transfer: teacher}}
"""


@component(shape=(1, 28, 28))
def torchvision(*, name: Literal["MNIST"]) -> Dataset:
    """A named data set."""
    raise AssertionError(name)


@component(shape=(3, 32, 32))
def npz(*, file: File) -> Dataset:
    """A file of arrays."""
    raise AssertionError(file)


@component(shape="data")
def trained(
    *,
    data: Dataset,
    network: str,
    epochs: int = 1,
    adversary: dict[str, float | str] | None = None,
    seed: int = 0,
) -> Source:
    """A trained network."""
    raise AssertionError(data, network, epochs, adversary, seed)


def channel_mean() -> Adapter:
    """One channel."""
    raise AssertionError


def centre_crop() -> Adapter:
    """The middle."""
    raise AssertionError


def resize() -> Adapter:
    """Smaller."""
    raise AssertionError


def chain(*, parts: tuple[Adapter, ...]) -> Adapter:
    """One after the other."""
    raise AssertionError(parts)


@component(
    needs=["source"],
    presets={"cifar10-mnist": {"lambda_adv": 2.0, "lambda_diff": 4.0, "epochs": 100}},
)
def igam(
    *,
    student: str,
    gradient_of: str = "loss",
    reduction: str = "mean",
    match: Literal["teacher", "zero"] = "teacher",
    lambda_adv: float = 1.0,
    lambda_diff: float = 1.0,
    epochs: int = 1,
) -> Transfer:
    """Input gradient adversarial matching."""
    raise AssertionError(student, gradient_of, reduction, match, lambda_adv, lambda_diff, epochs)


@component(needs=["source"])
def blocks(*, blocks: int, batch_norm: str, epochs: int) -> Transfer:
    """Fine-tuning."""
    raise AssertionError(blocks, batch_norm, epochs)


def scratch(*, network: str) -> Transfer:
    """Training from scratch."""
    raise AssertionError(network)


def adversarial(*, network: str, norm: str, eps: float, steps: int) -> Transfer:
    """Adversarial training from scratch."""
    raise AssertionError(network, norm, eps, steps)


@component(needs=["model"])
def clean_accuracy() -> Evaluation:
    """Clean accuracy."""
    raise AssertionError


@component(needs=["model"])
def pgd(
    *, norm: str, eps: tuple[float, ...], steps: int, step_size: float, restarts: int
) -> Evaluation:
    """An attack."""
    raise AssertionError(norm, eps, steps, step_size, restarts)


@component(needs=["source", "reference"])
def alpha(*, norm: str, eps: float, steps: int, step_size: float) -> Evaluation:
    """Alignment of attacks."""
    raise AssertionError(norm, eps, steps, step_size)


def plugin(name: str, **answers: Iterable[Callable[..., object]]) -> Plugin:
    """A plugin that answers each question with some factories."""
    module = ModuleType(name)
    for question, factories in answers.items():
        setattr(module, question, answer(question, list(factories)))
    return Plugin(name, module, "example", "1.0")


def answer(
    question: str, factories: list[Callable[..., object]]
) -> Callable[[], list[Callable[..., object]]]:
    def implementation() -> list[Callable[..., object]]:
        return factories

    implementation.__name__ = question
    return hookimpl(implementation)


@pytest.fixture(scope="module")
def papers() -> Host:
    return Host(
        [
            plugin("vision", register_datasets=[torchvision, npz], register_sources=[trained]),
            plugin("adapters", register_adapters=[chain, channel_mean, centre_crop, resize]),
            plugin("igam", register_transfers=[igam]),
            plugin("finetune", register_transfers=[blocks, scratch, adversarial]),
            plugin("foolbox", register_evaluations=[clean_accuracy, pgd]),
            plugin("alignment", register_evaluations=[alpha]),
        ]
    )


@pytest.fixture
def igam_suite(papers: Host, write: Callable[[str, str], Path]) -> Suite:
    write("CIFAR10_subset/cifar10_10k_2k.npz", "pixels")
    write("igam.yaml", SUITE)
    return load("igam.yaml", papers)


def test_replicates_are_cells_of_one_row(igam_suite: Suite) -> None:
    assert [(cell.row, cell.replicate) for cell in igam_suite.sources] == [
        (row, seed) for row in ("robust", "natural") for seed in range(3)
    ]


def test_subsets_and_references_of_both_targets_are_expanded(igam_suite: Suite) -> None:
    mnist, cifar = igam_suite.targets

    assert [(subset.n, subset.seed) for subset in mnist.subsets] == [
        *((n, seed) for n in (500, 2000) for seed in range(3)),
        ("all", 0),
    ]
    assert [(subset.n, subset.seed, subset.rule) for subset in cifar.subsets] == [
        ("all", 20_000_000, "utrera2021"),
        ("all", 20_100_000, "utrera2021"),
    ]
    assert ([cell.replicate for cell in mnist.references], mnist.test, cifar.references) == (
        [0, 1],
        1000,
        (),
    )


def test_preset_wins_over_the_suites_defaults(igam_suite: Suite) -> None:
    ours, paper, *_ = igam_suite.transfers

    assert ours.node.options["epochs"] == 10
    assert (paper.node.options["epochs"], paper.node.options["reduction"]) == (100, "sample_mean")


def test_chained_adapters_hold_their_parts_as_nodes(igam_suite: Suite) -> None:
    parts = igam_suite.adapters[0].node.inputs["parts"]

    assert isinstance(parts, tuple)
    assert [part.use for part in parts] == ["adapters/channel_mean", "adapters/centre_crop"]


def test_declared_digest_is_the_files_identity(igam_suite: Suite) -> None:
    cifar = igam_suite.datasets[2].node

    assert cifar.options["file"] == {"sha256": hashlib.sha256(b"pixels").hexdigest()}


def test_igam_suite_plans_the_expected_trials_and_results(igam_suite: Suite, papers: Host) -> None:
    planned = planning.make_plan(igam_suite, papers)
    results = {
        one for trial in planned.trials for several in trial.evaluations.values() for one in several
    }

    assert len(planned.trials) == 189
    assert len(results) == 390


def test_shipped_suite_plans_what_its_head_says_without_its_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)
    host = Host.discover()
    planned = planning.make_plan(load("igam-mini-more", host), host)

    assert (
        "27 trials, 81 results"
        in shipped_suites()["igam-mini-more"].read_text(encoding="utf-8").splitlines()[0]
    )
    assert (27, 81) == (len(planned.trials), planned.count_results())
    assert {None} == {trial.skipped for trial in planned.trials}


def test_each_teacher_of_the_shipped_suite_has_its_own_subset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)
    host = Host.discover()
    trials = planning.make_plan(load("igam-mini-more", host), host).trials

    assert all(trial.seed == trial.replicate for trial in trials if trial.source)
    assert {"standard", "adversarial"} == {trial.transfer for trial in trials if not trial.source}
    assert {"robust"} == {trial.row for trial in trials if trial.transfer == "penalty"}
