from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from advtransfer.errors import AdvTransferError, UnknownName
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import File, Source
from advtransfer_vision.components.pretrained_sources import torchvision_model
from advtransfer_vision.pretrained import torchvision_weights
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.safe_load import CheckpointError

NAME = "squeezenet1_1"
INPUTS = torch.rand(2, 3, 40, 40, generator=stream_generator("inputs"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANGED = (
    "other weights than there were: if that is meant, raise `version` in the factory's component"
)


def network(outputs: int = 5) -> nn.Module:
    model: nn.Module = build_initialized(
        lambda: models.get_model(NAME, num_classes=outputs), stream_generator("torchvision")
    )
    return model.eval()


def filled(source: Source) -> nn.Module:
    module = source.network()
    assert isinstance(module, nn.Module)
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return module.eval()


def normalised(inputs: Tensor = INPUTS) -> Tensor:
    return (inputs - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights as torchvision releases one, and its name known to torchvision; the folders are empty."""
    (tmp_path / "released").mkdir()
    beside = tmp_path / "released" / "new.pth"
    torch.save(network().state_dict(), beside)
    digits = hashlib.sha256(beside.read_bytes()).hexdigest()[:8]
    path = beside.rename(beside.with_name(f"squeezenet1_1-{digits}.pth"))
    meta = {
        "categories": ["a", "b", "c", "d", "e"],
        "_metrics": {"Pets": {"acc@1": 61.5}},
        "license": "CC-BY",
        "recipe": "https://example.org",
    }
    transforms = partial(ImageClassification, crop_size=40)
    pets = WeightsEnum("SqueezeNet1_1_Weights", {"PETS": Weights(path.as_uri(), transforms, meta)})
    monkeypatch.setattr(torchvision_weights, "find_weights", lambda architecture, name: pets.PETS)
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return path


@pytest.mark.parametrize("folder", ["data", "data/checkpoints", "hub/checkpoints"])
def test_named_weights_are_found_where_they_may_lie(
    released: Path, tmp_path: Path, folder: str
) -> None:
    place = tmp_path / folder / released.name
    place.parent.mkdir(parents=True)
    released.rename(place)
    found = filled(torchvision_model(architecture=NAME, weights="PETS"))

    torch.testing.assert_close(found(INPUTS), network()(normalised()), atol=1e-6, rtol=0)


def test_named_weights_that_are_absent_say_which_file_is_expected_where(
    released: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError) as caught:
        torchvision_model(architecture=NAME, weights="PETS").weights(InMemoryContext())

    folders = f"{tmp_path}/data or {tmp_path}/data/checkpoints or {tmp_path}/hub/checkpoints"
    next_step = f"download {released.as_uri()} to there, or set `download: true`"
    found = "found no file for SqueezeNet1_1_Weights.PETS"
    assert f"{found}; expected {released.name} in {folders}; {next_step}" == str(caught.value)


def test_named_weights_are_downloaded_when_asked_for(released: Path, tmp_path: Path) -> None:
    context = InMemoryContext()
    torchvision_model(architecture=NAME, weights="PETS", download=True).weights(context)
    size = released.stat().st_size

    assert [released.name] == [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()]
    assert {"done": size, "total": size} == context.told[-1]


def test_failed_download_leaves_no_file(released: Path, tmp_path: Path) -> None:
    released.unlink()
    with pytest.raises(
        AdvTransferError,
        match=r"found no answer from file:.*; download it elsewhere to .*hub/checkpoints",
    ):
        torchvision_model(architecture=NAME, weights="PETS", download=True).weights(
            InMemoryContext()
        )

    assert [] == list((tmp_path / "hub" / "checkpoints").iterdir())


def test_file_without_the_digest_in_its_name_is_refused(released: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / released.name).write_bytes(b"something else")
    with pytest.raises(
        CheckpointError,
        match=r"with sha256 .*; expected one that begins with [0-9a-f]{8}; remove it",
    ):
        torchvision_model(architecture=NAME, weights="PETS").weights(InMemoryContext())


def test_card_of_named_weights_has_torchvision_claims(released: Path) -> None:
    card = torchvision_model(architecture=NAME, weights="PETS").card()

    assert (NAME, "Pets", "none", (3, 40, 40), 5) == (
        card.architecture,
        card.data,
        card.constraint,
        card.shape,
        card.outputs,
    )
    assert (0.615, "CC-BY") == (card.clean_accuracy, card.licence)
    assert "torchvision, SqueezeNet1_1_Weights.PETS, https://example.org" == card.citation
    assert "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225" == card.normalisation


def test_claims_of_a_suite_override_those_of_torchvision(released: Path) -> None:
    card = torchvision_model(
        architecture=NAME, weights="PETS", card=Claims(data="cats", clean_accuracy=0.5)
    ).card()

    assert ("cats", 0.5) == (card.data, card.clean_accuracy)


def test_real_weights_are_known_by_full_and_by_short_name() -> None:
    full, short = (
        torchvision_weights.find_weights("resnet50", name)
        for name in ("ResNet50_Weights.IMAGENET1K_V1", "IMAGENET1K_V1")
    )
    claims = torchvision_weights.weights_claims(full)

    assert full is short
    assert ("ImageNet-1K", 0.7613) == (claims.data, claims.clean_accuracy)
    assert ((224, 224), 1000, MEAN) == (
        (torchvision_weights.weights_spec("resnet50", full).pixels,) * 2,
        torchvision_weights.weights_spec("resnet50", full).outputs,
        torchvision_weights.weights_spec("resnet50", full).mean,
    )


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        (
            "resnet50",
            "IMAGENET1K_V3",
            r"found 'IMAGENET1K_V3'; expected weights of resnet50 \(ResNet50_Weights.IMAGENET1K_V1,",
        ),
        (
            "resnet50",
            "ResNet18_Weights.IMAGENET1K_V1",
            r"did you mean 'ResNet50_Weights.IMAGENET1K_V1'\?",
        ),
        (
            "cifar_resnet18",
            "IMAGENET1K_V1",
            r"expected weights of cifar_resnet18 \(torchvision has none\)",
        ),
    ],
)
def test_unknown_weights_are_an_error_that_names_the_known_ones(
    architecture: str, name: str, message: str
) -> None:
    with pytest.raises(UnknownName, match=message):
        torchvision_model(architecture=architecture, weights=name)


def test_weights_of_a_file_give_the_logits_of_the_plain_network(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "own.pth")
    source = torchvision_model(
        architecture=NAME, file=File(tmp_path / "own.pth", "0" * 64), outputs=5, pixels=40
    )

    torch.testing.assert_close(filled(source)(INPUTS), network()(normalised()), atol=1e-6, rtol=0)


def test_weights_by_name_and_by_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"found weights 'IMAGENET1K_V1' and the file own.pth; expected one of them",
    ):
        torchvision_model(
            architecture=NAME, weights="IMAGENET1K_V1", file=File(Path("own.pth"), "0" * 64)
        )


def test_untrained_weights_hang_on_the_seed_alone() -> None:
    source = torchvision_model(architecture=NAME, outputs=5, pixels=40)
    first, again, other = (source.weights(InMemoryContext(seed)).tensors for seed in (0, 0, 1))

    assert all(first[name].equal(tensor) for name, tensor in again.items())
    assert not all(first[name].equal(tensor) for name, tensor in other.items())
    assert "none: untrained" == source.card().data


def test_untrained_weights_have_not_changed() -> None:
    logits = filled(torchvision_model(architecture=NAME, outputs=3, pixels=40))(INPUTS)[0]

    assert [0.3729, 0.2602, 0.0165] == pytest.approx(logits.tolist(), abs=1e-3), CHANGED


def test_inputs_and_outputs_are_those_of_the_data() -> None:
    card = torchvision_model(architecture=NAME, data=toy(classes=4, shape=(3, 48, 48))).card()

    assert ((3, 48, 48), 4) == (card.shape, card.outputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"data": toy(classes=4, shape=(3, 48, 48)), "outputs": 5},
            "found outputs 5 and data that has 4; expected the same",
        ),
        (
            {"data": toy(classes=4, shape=(3, 48, 48)), "pixels": 40},
            "found pixels 40 and data that has 48; expected the same",
        ),
        (
            {"data": toy(shape=(1, 48, 48))},
            r"found data of shape \(1, 48, 48\); .* give the data set `channels: 3`",
        ),
        (
            {"blocks": ("features.3",)},
            r"found blocks \['features.3'\] and head None; expected both or neither",
        ),
    ],
)
def test_options_that_do_not_agree_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torchvision_model(architecture=NAME, **options)  # type: ignore[arg-type]  # options of several types


def test_unknown_architecture_is_reported_with_similar_names() -> None:
    with pytest.raises(
        UnknownName,
        match=r"found 'resnet5'; expected a classifier of torchvision, .* did you mean 'resnet",
    ):
        torchvision_model(architecture="resnet5").network()


def test_inputs_that_an_architecture_cannot_take_are_told_in_one_paragraph() -> None:
    with pytest.raises(
        AdvTransferError, match=r"found a squeezenet1_1 that fails on inputs of shape \(3, 8, 8\)"
    ) as caught:
        torchvision_model(architecture=NAME, outputs=5, pixels=8).weights(InMemoryContext())

    assert "\n" not in str(caught.value)
