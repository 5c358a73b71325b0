"""timm's models; skipped where timm, which comes with the extra ``hub``, is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from advtransfer.errors import UnknownName
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import HookedNetwork
from advtransfer.types import File, Source
from advtransfer_finetune.components import blocks
from advtransfer_vision.components.hub_sources import timm as timm_source
from advtransfer_vision.components.pretrained_sources import checkpoint
from advtransfer_vision.pretrained.hub_files import HubFile
from advtransfer_vision.pretrained.safe_load import CheckpointError

timm = pytest.importorskip("timm", reason="timm is not installed; the extra `hub` brings it")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAME = "resnet18.a1_in1k"


def network(name: str = NAME, outputs: int = 1000) -> nn.Module:
    model: nn.Module = build_initialized(
        lambda: timm.create_model(name, num_classes=outputs), stream_generator("timm")
    )
    return model.eval()


def filled(source: Source) -> HookedNetwork:
    module = cast(HookedNetwork, source.network())
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return module.eval()


def normalised(inputs: Tensor) -> Tensor:
    return (inputs - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture
def weights(tmp_path: Path) -> File:
    save_file(
        {name: value.contiguous() for name, value in network().state_dict().items()},
        tmp_path / "model.safetensors",
    )
    return File(tmp_path / "model.safetensors", "0" * 64)


def test_weights_of_a_file_give_the_logits_of_timm(weights: File) -> None:
    inputs = torch.rand(2, 3, 64, 64, generator=stream_generator("inputs"))
    found = filled(timm_source(name=NAME, file=weights, pixels=64))

    torch.testing.assert_close(found(inputs), network()(normalised(inputs)), atol=1e-6, rtol=0)


def test_weights_of_the_hub_are_those_of_its_file(
    weights: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = ModuleType("huggingface_hub")
    monkeypatch.setattr(
        stand_in, "hf_hub_download", lambda **asked: str(weights.path), raising=False
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    place = HubFile(repo=f"timm/{NAME}", file="model.safetensors", revision="a" * 40)
    by_hub, by_file = (
        source.weights(InMemoryContext()).tensors
        for source in (
            timm_source(name=NAME, hub=place, pixels=64),
            timm_source(name=NAME, file=weights, pixels=64),
        )
    )

    assert all(by_file[name].equal(tensor) for name, tensor in by_hub.items())


def test_vision_checkpoint_takes_timm_s_architectures_and_other_heads(tmp_path: Path) -> None:
    torch.save(network(outputs=5).state_dict(), tmp_path / "own.pt")
    file = File(tmp_path / "own.pt", "0" * 64)
    inputs = torch.rand(2, 3, 64, 64, generator=stream_generator("inputs"))
    source = checkpoint(
        file=file, architecture="resnet18", library="timm", mean=MEAN, std=STD, outputs=5, pixels=64
    )

    torch.testing.assert_close(
        filled(source)(inputs), network(outputs=5)(normalised(inputs)), atol=1e-6, rtol=0
    )


def test_card_has_the_claims_of_timm() -> None:
    card = timm_source(name=NAME).card()

    assert ((3, 224, 224), 1000, "none: untrained") == (card.shape, card.outputs, card.data)
    assert "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225" == card.normalisation


def test_the_card_of_weights_says_where_they_are_from(weights: File) -> None:
    card = timm_source(name=NAME, file=weights).card()

    # older versions of timm know no licence
    assert ("a1_in1k", timm.get_pretrained_cfg(NAME).license) == (card.data, card.licence)


@pytest.mark.parametrize(
    ("name", "blocks", "last"),
    [
        ("resnet18", ["stem", "layer1.0", "layer1.1", "layer2.0"], "layer4.1"),
        ("test_vit", ["stem", "blocks.0", "blocks.1", "blocks.2"], "blocks.5"),
        (
            "test_convnext",
            ["stem", "stages.0.blocks.0", "stages.1.downsample", "stages.1.blocks.0"],
            "stages.3.blocks.1",
        ),
        ("test_efficientnet", ["stem", "blocks.0.0", "blocks.1.0", "blocks.2.0"], "conv_head"),
    ],
)
def test_blocks_are_found_in_the_architecture(name: str, blocks: list[str], last: str) -> None:
    source = timm_source(name=name, outputs=5)
    found = filled(source)
    inputs = torch.rand(2, *source.card().shape, generator=stream_generator("inputs"))
    parts = [*found.blocks.values(), found.head]

    assert blocks == list(found.blocks)[:4]
    assert last == list(found.blocks)[-1]
    assert found(inputs).equal(found.head(found.features(inputs)))
    assert sorted(map(id, found.model.parameters())) == sorted(
        id(one) for part in parts for one in part.parameters()
    )


def test_the_last_blocks_are_fine_tuned() -> None:
    data = toy(classes=3, train=12, shape=(3, 64, 64))
    network = filled(timm_source(name="resnet18", outputs=5, pixels=64)).requires_grad_(False)
    transfer = blocks(blocks=1, epochs=1)
    model = transfer.model(source=network, adapter=None, target=data.card())
    fitted = transfer.fit(
        model,
        source=network,
        adapter=None,
        train=data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )
    state = model.state_dict()
    changed = {
        name
        for name, value in network.state_dict().items()
        if not value.equal(state[f"network.{name}"])
    }

    assert 1 == len(fitted.curves)
    assert changed
    assert all(name.startswith("model.layer4.1.") for name in changed)


def test_weights_for_other_classes_than_are_asked_for_are_refused(weights: File) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"found 10 outputs asked of resnet18.a1_in1k, which has 1000 classes; ",
    ):
        timm_source(name=NAME, file=weights, outputs=10, pixels=64).weights(InMemoryContext())


def test_weights_of_another_architecture_are_told_in_one_paragraph(weights: File) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"found weights that timm cannot load in .*; expected exactly those of",
    ) as caught:
        timm_source(name="resnet34.a1_in1k", file=weights, pixels=64).weights(InMemoryContext())

    assert "\n" not in str(caught.value)


def test_unknown_name_is_reported_with_similar_ones() -> None:
    with pytest.raises(
        UnknownName,
        match=r"found 'resnet17'; expected an architecture of timm, .* did you mean 'resnet",
    ):
        timm_source(name="resnet17")
