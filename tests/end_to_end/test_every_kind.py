"""One suite that names every kind of source and data set, on small real data, run to its end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

DATA = os.environ.get("ADVTRANSFER_DATA", "")

SUITE = """\
title: Every kind of source and data set
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
  mnist: {use: vision/torchvision, name: MNIST, size: 8}
  fashion: {use: vision/torchvision, name: FashionMNIST, size: 8}
  cifar: {use: vision/npz, file: CIFAR10_subset/cifar10_10k_2k.npz, channels: 1, size: 8}
  faces: {use: vision/npz, file: attributes.npz}
  folder: {use: vision/image_folder, root: folder, pixels: 32, channels: 1, size: 8}
  tiny: {use: vision/tiny_imagenet, root: tiny, channels: 1, size: 8}
  rbf: {use: vision/synthetic, n_train: 400, n_test: 200}
  colour: {use: vision/digits, classes: [0, 1, 2, 3, 4], channels: 3, size: 32}
defaults:
  vision/trained: {data: low, epochs: 6}
sources:
  natural: {use: vision/trained}
  linf: {use: vision/trained, adversary: {norm: linf, eps: 0.1, steps: 3}}
  l2: {use: vision/trained, adversary: {norm: l2, eps: 0.5, steps: 3}}
  best: {use: vision/trained, epochs: 12, adversary: {norm: linf, eps: 0.1, steps: 3, best: true}}
  trades: {use: vision/trained, adversary: {kind: trades, norm: linf, eps: 0.1, steps: 3}}
  fast: {use: vision/trained, adversary: {kind: fast, eps: 0.1}}
  free: {use: vision/trained, epochs: 12, adversary: {kind: free, eps: 0.1, replays: 4}}
  noisy: {use: vision/trained, label_noise: 0.2}
  moved: {use: vision/trained, epochs: 25, augment: [pad_crop_2, rotation]}
  random: {use: vision/random_init, data: low}
  shaken: {use: vision/perturbed, source: natural, data: low, scale: 0.1}
  drawn: {use: vision/torchvision_model, architecture: resnet18, outputs: 5, pixels: 32, data: colour}
  file: {use: vision/checkpoint, file: resnet18.pt, architecture: resnet18, mean: [0.5, 0.5, 0.5],
         std: [0.5, 0.5, 0.5], outputs: 5, pixels: 32, data: colour, card: {clean_accuracy: 0.95}}
  robustness: {use: vision/robustness_checkpoint, file: madry.pt, architecture: cifar_resnet18, data: colour}
  regression: {use: vision/trained, data: rbf, network: one_hidden, epochs: 5, optimiser: {kind: adam, lr: 0.01}}
targets:
  high: {data: high, n: [50], test: 100}
  mnist: {data: mnist, n: [50], test: 100}
  fashion: {data: fashion, n: [50], test: 100}
  cifar: {data: cifar, n: [50], test: 100}
  folder: {data: folder, n: [10], test: 8}
  tiny: {data: tiny, n: [10], test: 8}
  colour: {data: colour, n: [50], test: 40}
  rbf: {data: rbf, n: [200]}
  faces: {data: faces, n: [40]}
transfers:
  probe: {use: finetune/linear_probe}
  affine: {use: finetune/logit_affine, only: {target: [rbf, faces], source: [regression, drawn, file]}}
evaluations:
  clean: {use: foolbox/clean_accuracy, only: {transfer: probe}}
exclude:
  - {target: [mnist, fashion, cifar, folder, tiny], source: [linf, l2, best, trades, fast, free, noisy, moved, shaken]}
leaderboard: {baseline: natural, rank_by: clean.accuracy, columns: [clean.accuracy]}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: the real sets, and files of each other kind made from them."""
    if not DATA:
        pytest.skip(
            "ADVTRANSFER_DATA is not set: it names the folder with MNIST, FashionMNIST and CIFAR10_subset"
        )
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("MNIST", "FashionMNIST", "CIFAR10_subset"):
        (folder / name).symlink_to(Path(DATA).resolve() / name)
    write_images(folder)
    write_checkpoints(folder)
    return folder


def write_images(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    arrays = np.load(folder / "CIFAR10_subset" / "cifar10_10k_2k.npz")
    images, labels = arrays["x_train"][:400], arrays["y_train"][:400]
    picked = {label: images[labels == label][:12] for label in (0, 1)}
    attributes = np.stack([labels % 2, labels // 5], 1)
    np.savez(
        folder / "attributes.npz",
        x_train=images,
        y_train=attributes,
        x_test=images[:50],
        y_test=attributes[:50],
    )
    (folder / "tiny").mkdir()
    (folder / "tiny" / "wnids.txt").write_text("n0\nn1\n")
    (folder / "tiny" / "words.txt").write_text("n0\taeroplane\nn1\tcar\n")
    annotations = []
    for label, some in picked.items():
        for number, image in enumerate(some):
            part = "train" if number < 8 else "test"
            path = folder / "folder" / part / f"class{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            large = Image.fromarray(image).resize((64, 64))
            name = f"val_{label}_{number}.JPEG"
            inside = folder / "tiny" / ("val/images" if number >= 8 else f"train/n{label}/images")
            inside.mkdir(parents=True, exist_ok=True)
            large.save(inside / name)
            if number >= 8:
                annotations.append(f"{name}\tn{label}\t0\t0\t63\t63")
    (folder / "tiny" / "val" / "val_annotations.txt").write_text("\n".join(annotations) + "\n")


def write_checkpoints(folder: Path) -> None:
    import torch
    from torchvision.models import resnet18

    plain = resnet18(num_classes=5)
    torch.save(plain.state_dict(), folder / "resnet18.pt")
    stemmed = resnet18(num_classes=5)
    stemmed.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    renamed = {
        name.replace("fc.", "linear.").replace("downsample.", "shortcut."): value
        for name, value in stemmed.state_dict().items()
    }
    state = {f"module.model.{name}": value for name, value in renamed.items()}
    state |= {f"module.attacker.model.{name}": value for name, value in renamed.items()}
    for where in ("module.normalizer", "module.attacker.normalize"):
        state |= {
            f"{where}.new_mean": torch.full((3, 1, 1), 0.5),
            f"{where}.new_std": torch.full((3, 1, 1), 0.25),
        }
    torch.save({"model": state, "epoch": 3}, folder / "madry.pt")


def records(run: Path, kind: str) -> list[dict[str, Any]]:  # Any: JSON that the command wrote
    found = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return [record for record in found if record["kind"] == kind]


@pytest.mark.slow
def test_a_suite_with_every_kind_of_source_and_data_set_runs_to_its_end(
    command: Command, data: Path
) -> None:
    (command.folder / "every.yaml").write_text(SUITE)
    done = command("run", "every.yaml", "--json", ADVTRANSFER_DATA=str(data))
    run = command.folder / "runs" / "every"
    ended = json.loads(done.stdout)
    plan = json.loads((run / "plan.json").read_text())
    built = {plan["sources"][record["id"]]: record for record in records(run, "source")}
    measured = {
        name: record["probe"]["clean_accuracy"] for name, record in built.items() if record["probe"]
    }
    trained = (
        "natural",
        "linf",
        "l2",
        "best",
        "trades",
        "fast",
        "free",
        "noisy",
        "moved",
        "shaken",
    )
    chance = 0.2

    assert (ended["failed"], ended["todo"]) == (0, 0)
    assert ended["done"] >= 24
    assert {
        name: accuracy
        for name, accuracy in measured.items()
        if name in trained and accuracy < 2 * chance
    } == {}
    assert {"random", "drawn", "file", "robustness", "regression"} <= set(built)
    assert {"finetune/linear_probe", "finetune/logit_affine"} == {
        one["asked"]["use"] for one in records(run, "fit")
    }
    assert built["file"]["probe"]["agrees"] is False
    assert "warning: source file is off its card" in done.stderr
    assert "differs from its card" in (run / "leaderboard.md").read_text()
