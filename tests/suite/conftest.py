"""A toy plugin, and suites made of it section by section."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt

from advtransfer.errors import BadInput
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.precheck import precheck
from advtransfer.suite import Suite, load
from advtransfer.types import (
    Adapter,
    Dataset,
    Evaluation,
    Factory,
    File,
    Folder,
    Source,
    Transfer,
    component,
)

SECTIONS = {
    "datasets": "low: {use: toy/images}",
    "sources": "natural: {use: toy/trained, data: low}",
    "targets": "task: {data: low, n: 20}",
    "transfers": "probe: {use: toy/probe}",
    "evaluations": "clean: {use: toy/accuracy}",
}


@dataclass(frozen=True)
class Adversary:
    norm: Literal["linf", "l2"] = "linf"
    eps: float = 0.1
    steps: int = 7

    def __post_init__(self) -> None:
        if self.eps > 1:
            raise ValueError("eps of at most 1")


@dataclass(frozen=True)
class Layer:
    width: int
    bias: bool = True


def images(*, split: Annotated[int, Ge(0)] = 0) -> Dataset:
    """Images.

    Args:
        split: Draws the split.
    """
    raise AssertionError(split)


def archive(*, file: File) -> Dataset:
    """Images in a file."""
    raise AssertionError(file)


def folders(*, root: Folder | None = None) -> Dataset:
    """Images in a folder."""
    raise AssertionError(root)


def mixed(*, parts: tuple[Dataset, ...], extra: Dataset | None = None) -> Dataset:
    """Several data sets in one."""
    raise AssertionError(parts, extra)


@component(version=2, presets={"paper": {"epochs": 100, "adversary": {"norm": "l2", "eps": 0.5}}})
def trained(
    *,
    data: Dataset,
    network: Literal["small", "large"] = "small",
    adversary: Adversary | None = None,
    lr: Annotated[float, Gt(0)] = 0.1,
    epochs: Annotated[int, Ge(1)] = 10,
    seed: Annotated[int, Ge(0)] = 0,
) -> Source:
    """A trained network.

    Args:
        data: What to train on.
        lr: The learning rate,
            over two lines.
    """
    raise AssertionError(data, network, adversary, lr, epochs, seed)


def fixed(*, network: Literal["small", "large"] = "small") -> Source:
    """A network without a seed."""
    raise AssertionError(network)


def crop() -> Adapter:
    """A crop."""
    raise AssertionError


def chain(*, parts: tuple[Adapter, ...]) -> Adapter:
    """Adapters one after the other."""
    raise AssertionError(parts)


@component(needs=["source"])
def probe(*, C: Annotated[float, Gt(0)] = 1.0) -> Transfer:
    """A linear probe."""
    raise AssertionError(C)


def scratch(*, network: Literal["small", "large"], layers: tuple[Layer, ...] = ()) -> Transfer:
    """Training without a source."""
    raise AssertionError(network, layers)


def accuracy() -> Evaluation:
    """Clean accuracy."""
    raise AssertionError


@component(needs=["model", "reference"])
def alignment() -> Evaluation:
    """Alignment with the reference."""
    raise AssertionError


@component(presets={"ladder": {"eps": [0.1, 0.2]}})
def pgd(*, eps: float | tuple[float, ...], steps: Annotated[int, Ge(1)] = 10) -> Evaluation:
    """An attack."""
    raise AssertionError(eps, steps)


def claimed_metrics(chosen: Mapping[str, object]) -> list[str]:
    eps = chosen["eps"]
    radii = eps if isinstance(eps, tuple) else (eps,)
    return [f"robust_accuracy@{each:g}" for each in radii]


@precheck(metrics=claimed_metrics)
@component()
def normed(*, norm: Literal["linf", "l2"], eps: float | tuple[float, ...]) -> Evaluation:
    """An attack that states its norm and its metrics."""
    raise AssertionError(norm, eps)


@precheck(metrics=lambda chosen: ["accuracy"])
@component()
def stated_accuracy() -> Evaluation:
    """An accuracy that states its metric."""
    raise AssertionError


@precheck(metrics=lambda chosen: ["accuracy"], files=lambda chosen: [])
@component(needs=["model"])
def fitted_accuracy() -> Evaluation:
    """The accuracy of the fitted model, which writes no file."""
    raise AssertionError


@precheck(metrics=claimed_metrics)
@component(needs=["model"])
def fitted_attack(*, eps: float | tuple[float, ...]) -> Evaluation:
    """An attack on the fitted model."""
    raise AssertionError(eps)


@hookimpl
def register_datasets() -> Iterable[Factory[Dataset]]:
    return [images, archive, folders, mixed]


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    return [trained, fixed]


@hookimpl
def register_adapters() -> Iterable[Factory[Adapter]]:
    return [crop, chain]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [probe, scratch]


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [accuracy, pgd, alignment, normed, stated_accuracy, fitted_accuracy, fitted_attack]


def document(**sections: str) -> str:
    """A whole suite's text: the sections given, in their order, then simple ones for those that are not."""
    together = {
        **sections,
        **{name: text for name, text in SECTIONS.items() if name not in sections},
    }
    return "\n".join(f"{name}:\n{indent(text, '  ')}" for name, text in together.items())


@pytest.fixture(scope="session")
def host() -> Host:
    return Host([Plugin("toy", sys.modules[__name__], "toy", "1.0")])


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Writes a file into the working folder, which is a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def suite(host: Host, write: Callable[[str, str], Path]) -> Callable[..., Suite]:
    """Loads a suite of these sections."""

    def suite(**sections: str) -> Suite:
        write("toy.yaml", document(**sections))
        return load("toy.yaml", host)

    return suite


@pytest.fixture
def mistakes(suite: Callable[..., Suite]) -> Callable[..., list[str]]:
    """The problems of a suite of these sections, as a reader sees them."""

    def mistakes(**sections: str) -> list[str]:
        with pytest.raises(BadInput) as caught:
            suite(**sections)
        return [str(problem) for problem in caught.value.problems]

    return mistakes
