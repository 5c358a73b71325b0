"""The suites of published experiments, each with small stand-ins for its data and networks, run to a page.

Each component stays in its place, small: generated images, narrow networks, one or two epochs, the first
sources and targets.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from advtransfer.cli import main
from advtransfer.suite import shipped_suites
from advtransfer.suite.extends import read_with_parents
from advtransfer.suite.located import Problems

Entry: TypeAlias = dict[str, Any]  # Any: YAML

CLASSES = 10
SIZES = {"MNIST": (28, 28), "FashionMNIST": (28, 28), "KMNIST": (28, 28), "STL10": (48, 48, 3)}
"""Shapes of the images of torchvision's sets, as they stand in the archives; others are 32 x 32 x 3."""
LARGE_PIXELS, SMALL_PIXELS = 224, 32
MOST_SOURCES, MOST_TARGETS, MOST_BLOCKS = 10, 3, 2
TRAINED = ("vision/trained", "finetune/scratch", "finetune/adversarial")


def small_suite(name: str, folder: Path) -> dict[str, Any]:  # Any: YAML
    """Return a shipped suite with every component in its place but small, and write its data into a folder.

    At most `MOST_SOURCES` sources and `MOST_TARGETS` targets that are named by nothing else are kept.
    """
    path = shipped_suites()[name]
    problems = Problems(name)
    located, _ = read_with_parents(path, file=name, problems=problems)
    suite = cast(dict[str, Any], located.to_plain())  # Any: YAML
    problems.raise_if_any()
    for entry in suite["datasets"].values():
        _shrink_dataset(entry, folder)
    named = {
        source for transfer in suite["transfers"].values() for source in _named_sources(transfer)
    }
    suite["sources"] = _first(suite["sources"], MOST_SOURCES, also=named)
    suite["targets"] = _first(suite["targets"], MOST_TARGETS)
    for key, defaults in suite.get("defaults", {}).items():
        _shrink_training(key, defaults)
    data = next(iter(suite["targets"].values()))["data"]
    for number, (label, entry) in enumerate(suite["sources"].items()):
        # Another width for each, since two entries may not ask for the same network.
        network = {"name": "small_cnn", "width": 4 + number}
        suite["sources"][label] = _small_source(entry, data, network)
    for target in suite["targets"].values():
        _shrink_target(target)
    for number, entry in enumerate(suite["transfers"].values()):
        # Two transfers may differ in their epochs alone.
        _shrink_transfer(entry, epochs=1 + number % 2)
    for entry in suite["evaluations"].values():
        _shrink_evaluation(entry)
    _drop_absent_names(suite)
    return suite


def _first(entries: Entry, most: int, also: Iterable[str] = ()) -> Entry:
    kept = [*list(entries)[:most], *(name for name in also if name in entries)]
    return {name: entry for name, entry in entries.items() if name in kept}


def _named_sources(transfer: Entry) -> list[str]:
    named = transfer.get("only", {}).get("source", [])
    return [named] if isinstance(named, str) else named


def _shrink_dataset(entry: Entry, folder: Path) -> None:
    if entry["use"] == "vision/image_folder":
        _write_folder(folder / entry["root"], is_split="split" in entry)
        entry["pixels"] = SMALL_PIXELS
        if "split" in entry:
            entry["split"] = {**entry["split"], "images": 8}
        return
    if entry["use"] == "vision/tiny_imagenet":
        entry.clear()
        entry.update(use="vision/npz", file=_write_archive(folder, "tiny", (64, 64, 3)))
        return
    if entry["use"] == "vision/npz":
        _write_archive(folder, entry["file"].removesuffix(".npz"), (32, 32, 3), attributes=40)
        return
    assert entry.pop("use") == "vision/torchvision"
    name = entry.pop("name")
    if entry.get("size") == LARGE_PIXELS:
        entry["size"] = SMALL_PIXELS
    file = _write_archive(folder, name, SIZES.get(name, (32, 32, 3)))
    entry.update(use="vision/npz", file=file)


def _write_archive(
    folder: Path, name: str, shape: tuple[int, ...], attributes: int | None = None
) -> str:
    drawn = np.random.default_rng(zlib.crc32(name.encode()))
    arrays: dict[str, Any] = {}  # Any: arrays of several types
    for part, count in (("train", 40), ("test", 20)):
        arrays[f"x_{part}"] = drawn.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = np.arange(count) % CLASSES
        if attributes is not None:
            labels = drawn.integers(0, 2, (count, attributes))
        arrays[f"y_{part}"] = labels
    np.savez(folder / f"{name}.npz", **arrays)
    return f"{name}.npz"


def _write_folder(root: Path, *, is_split: bool) -> None:
    drawn = np.random.default_rng(zlib.crc32(root.name.encode()))
    for label in range(3):
        for number in range(14):
            part = () if is_split else ("train" if number < 8 else "test",)
            place = root.joinpath(*part, f"class {label}", f"{number:02}.png")
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(place)


def _small_source(entry: Entry, data: str, network: Entry) -> Entry:
    if entry["use"] == "vision/trained":
        _shrink_training("vision/trained", entry)
        return {**entry, "network": network}
    # Checkpoints: only the files are missing, and which networks they fit is tested where they are read.
    kept: Entry = {name: entry[name] for name in ("only", "label") if name in entry}
    return {**kept, "use": "vision/random_init", "data": data, "network": network}


def _shrink_training(component: str, options: Entry) -> None:
    if "network" in options and isinstance(options["network"], str):
        options["network"] = "small_cnn"
    if component in TRAINED:
        options.update(epochs=1, batch_size=8)
    if "adversary" in options and "steps" in options["adversary"]:
        options["adversary"]["steps"] = 2


def _shrink_target(target: Entry) -> None:
    for each in target.get("subsets", [target]):
        each["n"] = list(dict.fromkeys(map(_small_n, each["n"])))
        if isinstance(each.get("seeds"), Mapping):
            each["seeds"] = {**each["seeds"], "count": 1}
        else:
            each["seeds"] = 1
    if "subsets" in target:
        by_n = {tuple(each["n"]): each for each in target["subsets"]}
        target["subsets"] = list(by_n.values())
    target["test"] = 6
    if "reference" in target:
        _shrink_training("vision/trained", target["reference"])


def _small_n(n: int | str) -> int | str:
    return n if isinstance(n, str) else 12 if n <= 1600 else 20


def _shrink_transfer(entry: Entry, epochs: int) -> None:
    entry.update(epochs=epochs, batch_size=8)
    if "snapshots" in entry:
        entry["snapshots"] = [1]
    if "blocks" in entry:
        entry["blocks"] = min(entry["blocks"], MOST_BLOCKS)
    blocks = entry.get("sweep", {}).get("blocks")
    if blocks:
        entry["sweep"] = {"blocks": [number for number in blocks if number <= MOST_BLOCKS]}
    if "n" in entry.get("only", {}):
        entry["only"] = {
            **entry["only"],
            "n": list(dict.fromkeys(map(_small_n, entry["only"]["n"]))),
        }
    if entry["use"] == "igam/igam":
        entry["teacher"] = {"epochs": 1}


def _shrink_evaluation(entry: Entry) -> None:
    shrink: dict[str, Callable[[], object]] = {
        "interpret/feature_visualisation": lambda: entry.update(units=[0, 1], steps=2),
        "corruptions/accuracy": lambda: entry.update(table="cifar"),
        "foolbox/autoattack": lambda: entry.update(version="fast", steps=5),
    }
    shrink.get(entry["use"], lambda: None)()


def _drop_absent_names(suite: Entry) -> None:
    """Take out what speaks of sources and targets that were left out."""
    for entry in suite["sources"].values():
        targets = entry.get("only", {}).get("target")
        if isinstance(targets, list):
            entry["only"] = {"target": [target for target in targets if target in suite["targets"]]}


FULL_SCALE = [name for name in shipped_suites() if "-" in name and "mini" not in name]
FULL_SCALE += ["attributes", "robustgenbench", "salman2020"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SCALE)
def test_every_trial_of_a_small_stand_in_ends_on_the_page(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path))
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / f"{name}.yaml"
    suite = small_suite(name, tmp_path)
    file.write_text(yaml.safe_dump(suite, sort_keys=False))
    arguments = ["run", str(file), "--executor", "local/inline", "--battery", "none"]
    done = CliRunner().invoke(
        main, [*arguments, "--runs", str(tmp_path / "runs"), "--json", "--quiet"]
    )

    assert done.exit_code == 0, done.output
    ended = json.loads(done.stdout)
    assert (0, 0, 0) == (ended["failed"], ended["skipped"], ended["todo"])
    assert ended["done"] > 0
    page = (tmp_path / "runs" / name / "leaderboard.md").read_text()
    for column in suite["leaderboard"]["columns"]:
        assert column in page
    for label in suite["transfers"]:
        assert label in page or "sweep" in suite["transfers"][label]
