"""Weights from the Hugging Face hub, with a folder on this machine in its place."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from advtransfer.errors import AdvTransferError, MissingLibrary
from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import File, Json, Source
from advtransfer_vision.components.hub_sources import huggingface
from advtransfer_vision.components.pretrained_sources import robustness_checkpoint
from advtransfer_vision.pretrained.hub_files import HubFile

NAME, REPO = "squeezenet1_1", "someone/some-model"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
COMMIT, OTHER = "a" * 40, "b" * 40
INPUTS = torch.rand(2, 3, 40, 40, generator=stream_generator("inputs"))


def network() -> nn.Module:
    model: nn.Module = build_initialized(
        lambda: models.get_model(NAME, num_classes=5), stream_generator("hub")
    )
    return model.eval()


def normalised() -> Tensor:
    return (INPUTS - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def filled(source: Source) -> nn.Module:
    module = cast(nn.Module, source.network())
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return module.eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a repository at a commit; what is asked for is copied from it, as into the hub's cache."""
    repository = tmp_path / "hub" / REPO / COMMIT
    repository.mkdir(parents=True)
    (tmp_path / "cache").mkdir()

    def hf_hub_download(*, repo_id: str, filename: str, revision: str) -> str:
        file = tmp_path / "hub" / repo_id / revision / filename
        if not file.is_file():
            raise LookupError(f"404: no {filename}\nin {repo_id}")
        return str(shutil.copy(file, tmp_path / "cache"))

    stand_in = ModuleType("huggingface_hub")
    monkeypatch.setattr(stand_in, "hf_hub_download", hf_hub_download, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return repository


def source(file: HubFile, **options: object) -> Source:
    settings = {
        "architecture": NAME,
        "mean": MEAN,
        "std": STD,
        "outputs": 5,
        "pixels": 40,
        **options,
    }
    return huggingface(hub=file, **settings)  # type: ignore[arg-type]  # options of several types


def test_a_file_of_the_hub_gives_the_logits_of_the_plain_network(hub: Path) -> None:
    save_file(network().state_dict(), hub / "model.safetensors")
    sha256 = hashlib.sha256((hub / "model.safetensors").read_bytes()).hexdigest()
    found = filled(
        source(HubFile(repo=REPO, file="model.safetensors", revision=COMMIT, sha256=sha256))
    )

    torch.testing.assert_close(found(INPUTS), network()(normalised()), atol=1e-6, rtol=0)


def test_a_robust_checkpoint_may_come_from_the_hub(hub: Path) -> None:
    state = {f"module.model.{name}": tensor for name, tensor in network().state_dict().items()}
    means = {
        "module.normalizer.new_mean": torch.tensor(MEAN),
        "module.normalizer.new_std": torch.tensor(STD),
    }
    torch.save({"model": {**state, **means}}, hub / "robust.ckpt")
    place = HubFile(repo=REPO, file="robust.ckpt", revision=COMMIT)
    found = filled(robustness_checkpoint(architecture=NAME, hub=place, outputs=5, pixels=40))

    torch.testing.assert_close(found(INPUTS), network()(normalised()), atol=1e-6, rtol=0)


def fails(built: Source) -> str:
    with pytest.raises(AdvTransferError) as caught:
        built.weights(InMemoryContext())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_missing_in_the_hub_is_an_error(hub: Path) -> None:
    found = f"found no model.bin of {REPO} at {OTHER[:12]} (LookupError: 404: no model.bin); expected a file that is in"

    assert fails(source(HubFile(repo=REPO, file="model.bin", revision=OTHER))).startswith(found)


def test_a_file_with_another_sha256_is_refused(hub: Path) -> None:
    save_file(network().state_dict(), hub / "model.safetensors")
    message = fails(
        source(HubFile(repo=REPO, file="model.safetensors", revision=COMMIT, sha256="0" * 64))
    )

    assert message.startswith(f"found model.safetensors of {REPO} at {COMMIT[:12]} with sha256 ")
    assert f"; expected {'0' * 64}; correct `sha256`, or remove the file" in message


def test_a_file_and_the_hub_exclude_each_other(hub: Path) -> None:
    place = HubFile(repo=REPO, file="robust.ckpt", revision=COMMIT)
    with pytest.raises(ValueError, match="found both a file and a hub; expected one of them"):
        robustness_checkpoint(
            architecture=NAME, hub=place, file=File(Path("robust.ckpt"), "0" * 64)
        )


@pytest.mark.parametrize(
    ("hub_file", "expected"),
    [
        ({"repo": "model"}, "repo: a repository, written owner/name, not 'model'"),
        (
            {"revision": "main"},
            "revision: a commit of 40 hexadecimal digits (a branch moves), not 'main'",
        ),
        ({"sha256": "12ab"}, "sha256: 64 hexadecimal digits, not '12ab'"),
    ],
)
def test_places_that_make_no_sense_are_found_by_the_plan(
    hub_file: dict[str, Json], expected: str
) -> None:
    component = Host.discover().component("vision/huggingface", "source")
    place: dict[str, Json] = {
        "repo": REPO,
        "file": "model.safetensors",
        "revision": COMMIT,
        **hub_file,
    }
    settings: dict[str, Json] = {
        "hub": place,
        "architecture": NAME,
        "mean": list(MEAN),
        "std": list(STD),
    }
    _, faults = component.options.validate(settings)

    assert [(("hub",), expected)] == [(fault.path, fault.expected) for fault in faults]


@pytest.mark.parametrize(
    ("name", "options", "library"),
    [
        ("vision/timm", {"name": "resnet18"}, "timm"),
        (
            "vision/checkpoint",
            {"architecture": "resnet18", "mean": [0, 0, 0], "std": [1, 1, 1], "library": "timm"},
            "timm",
        ),
        (
            "vision/robustness_checkpoint",
            {
                "architecture": "resnet18",
                "hub": {"repo": REPO, "file": "a.ckpt", "revision": COMMIT},
            },
            "huggingface_hub",
        ),
    ],
)
def test_missing_library_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Json], library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "advtransfer_vision.pretrained.timm_networks", raising=False)
    component = Host.discover().component(name, "source")
    values, faults = component.options.validate(options)
    parts = {"file": File(Path("a.pt"), "0" * 64)} if name == "vision/checkpoint" else {}

    assert [] == faults
    with pytest.raises(
        MissingLibrary, match=rf"{name} needs the library '{library}', .*; run: pip install "
    ):
        component.build(values, parts)
