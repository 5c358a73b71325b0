from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.wrapped_networks import HookedNetwork
from advtransfer.types import Dataset, File, Json, Source
from advtransfer.worker.object_builder import call_factory
from advtransfer_vision.components.pretrained_sources import checkpoint
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.safe_load import CheckpointError

NAME = "squeezenet1_1"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
INPUTS = torch.rand(2, 3, 40, 40, generator=stream_generator("inputs"))
UNUSED = "0" * 64
CHANGED = (
    "other logits than there were: if that is meant, raise `version` in the factory's component"
)


def network(name: str = NAME, outputs: int = 5) -> nn.Module:
    model: nn.Module = build_initialized(
        lambda: models.get_model(name, num_classes=outputs), stream_generator("checkpoint")
    )
    return model.eval()


def state(prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in network().state_dict().items()}


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    """Writes a torch file and gives the source that reads it."""

    def written(content: object, **options: object) -> Source:
        torch.save(content, tmp_path / "own.pt")
        return read(tmp_path / "own.pt", **options)

    return written


def read(path: Path, **options: object) -> Source:
    settings = {
        "architecture": NAME,
        "mean": MEAN,
        "std": STD,
        "outputs": 5,
        "pixels": 40,
        **options,
    }
    return checkpoint(file=File(path, UNUSED), **settings)  # type: ignore[arg-type]  # options of several types


def filled(source: Source) -> nn.Module:
    module = cast(nn.Module, source.network())
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return module.eval()


def fails(source: Source) -> str:
    with pytest.raises(CheckpointError) as caught:
        source.weights(InMemoryContext())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def expected() -> Tensor:
    logits: Tensor = network()(
        (INPUTS - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    )
    return logits


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (state(), {}),
        ({"state_dict": state(), "epoch": 3}, {}),
        ({"ema": state(), "state_dict": {}}, {"key": "ema"}),
        (state("module."), {"prefix": "module."}),
        (
            {"model": {**state("backbone."), "criterion.weight": torch.ones(2)}},
            {"prefix": "backbone."},
        ),
    ],
    ids=["plain", "usual key", "key", "prefix", "prefix and others"],
)
def test_a_torch_file_gives_the_logits_of_the_plain_network(
    source: Callable[..., Source], content: object, options: dict[str, str]
) -> None:
    torch.testing.assert_close(
        filled(source(content, **options))(INPUTS), expected(), atol=1e-6, rtol=0
    )


def test_a_safetensors_file_gives_the_logits_of_the_plain_network(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "own.safetensors")

    torch.testing.assert_close(
        filled(read(tmp_path / "own.safetensors"))(INPUTS), expected(), atol=1e-6, rtol=0
    )


def test_the_logits_of_this_version_have_not_changed(source: Callable[..., Source]) -> None:
    logits = filled(source(state()))(INPUTS)[0]

    assert [0.1406, 0.0206, 0.0, 0.2851, 0.0173] == pytest.approx(logits.tolist(), abs=1e-3), (
        CHANGED
    )


def test_tensors_that_are_not_used_are_counted(source: Callable[..., Source]) -> None:
    content = {**state("module."), "criterion.weight": torch.ones(2)}

    assert 1 == source(content, prefix="module.").weights(InMemoryContext()).facts["unused_tensors"]


def test_half_precision_weights_are_read_in_float32(source: Callable[..., Source]) -> None:
    tensors = (
        source({name: tensor.half() for name, tensor in state().items()})
        .weights(InMemoryContext())
        .tensors
    )

    assert {torch.float32} == {tensor.dtype for tensor in tensors.values()}


def test_weights_of_an_older_densenet_are_read_under_today_s_names(tmp_path: Path) -> None:
    model = build_initialized(
        lambda: models.densenet121(num_classes=5), stream_generator("checkpoint")
    ).eval()
    older = {
        name.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save(older, tmp_path / "old.pt")
    found = filled(
        read(tmp_path / "old.pt", architecture="densenet121", mean=(0.0,) * 3, std=(1.0,) * 3)
    )

    torch.testing.assert_close(found(INPUTS), model(INPUTS), atol=1e-6, rtol=0)


def test_auxiliary_classifiers_are_left_out(tmp_path: Path) -> None:
    model = build_initialized(
        lambda: models.googlenet(num_classes=5, init_weights=False), stream_generator("checkpoint")
    ).eval()
    torch.save(model.state_dict(), tmp_path / "aux.pt")
    found = filled(
        read(tmp_path / "aux.pt", architecture="googlenet", mean=(0.0,) * 3, std=(1.0,) * 3)
    )

    torch.testing.assert_close(found(INPUTS), model(INPUTS), atol=1e-6, rtol=0)


def test_blocks_may_be_named_by_the_suite(source: Callable[..., Source]) -> None:
    built = source(
        state(),
        blocks=("features.9", "features.10", "features.11", "features.12"),
        head="classifier.1",
    )
    found = filled(built)

    assert isinstance(found, HookedNetwork)
    assert ["stem", "features.9", "features.10", "features.11", "features.12"] == list(found.blocks)
    torch.testing.assert_close(found(INPUTS), expected(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            state(),
            {"outputs": 10},
            "found 5 classes in .* \\(classifier.1.weight is .*\\); expected 10; write `outputs: 5`, .* `new_head",
        ),
        (
            state(),
            {"architecture": "squeezenet1_0"},
            "found .* names .*; expected exactly the weights of squeezenet1_0; correct `architecture`",
        ),
        (
            state("own."),
            {"prefix": ""},
            "found 52 names missing \\(features.0.weight, .*; expected exactly the weights of .*`prefix`",
        ),
        (
            state(),
            {"prefix": "module."},
            "found no name that begins with 'module.' in .*, but 'features.0.weight', .*; correct `prefix`",
        ),
        (
            state(),
            {"key": "ema"},
            "found no 'ema' in .*, which holds 'features.0.weight', .* \\.\\.\\.; correct `key`",
        ),
        (
            {"epoch": 3},
            {},
            "found no tensors by name in .*, which holds 'epoch'; expected a mapping of names to tensors",
        ),
        (
            {**state(), "features.0.bias": torch.full((64,), torch.nan)},
            {},
            "found values that are not finite in .* \\(features.0.bias\\)",
        ),
    ],
    ids=["classes", "architecture", "no prefix", "prefix", "key", "no weights", "nan"],
)
def test_file_that_does_not_fit_is_reported_on_one_line(
    source: Callable[..., Source], content: object, options: dict[str, object], message: str
) -> None:
    assert re.match(message, fails(source(content, **options)))


def test_truncated_file_is_reported_on_one_line(
    source: Callable[..., Source], tmp_path: Path
) -> None:
    built = source(state())
    (tmp_path / "own.pt").write_bytes((tmp_path / "own.pt").read_bytes()[:-100])

    assert fails(built).startswith(f"found a damaged or truncated file {tmp_path}/own.pt")


def asked(path: Path, sha256: str) -> Source:
    """The source as a worker builds it from a node."""
    component = Host.discover().component("vision/checkpoint", "source")
    settings: dict[str, Json] = {
        "architecture": NAME,
        "mean": list(MEAN),
        "std": list(STD),
        "outputs": 5,
        "pixels": 40,
    }
    values, faults = component.options.validate(settings)
    assert [] == faults
    options: dict[str, Json] = {**values, "file": {"sha256": sha256}}
    node = Node(
        "source", component.name, component.metadata.version, options, {}, {sha256: str(path)}
    )
    return cast(Source, call_factory(component, node, lambda part: part))


def test_a_file_with_another_sha256_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "own.pt")
    sha256 = hashlib.sha256((tmp_path / "own.pt").read_bytes()).hexdigest()
    asked(tmp_path / "own.pt", sha256).weights(InMemoryContext())
    with pytest.raises(
        BadInput, match=f"own.pt' with sha256 {sha256}; expected sha256 {UNUSED}; "
    ) as caught:
        asked(tmp_path / "own.pt", UNUSED)

    assert "\n" not in str(caught.value)


def test_card_has_the_claims_of_the_suite(tmp_path: Path) -> None:
    claims = Claims(
        constraint="linf eps 4/255", data="birds", clean_accuracy=0.9, tolerance=0.02, licence="MIT"
    )
    card = read(tmp_path / "own.pt", card=claims).card()

    assert (NAME, "birds", "linf eps 4/255") == (card.architecture, card.data, card.constraint)
    assert ((3, 40, 40), 5) == (card.shape, card.outputs)
    assert (0.9, 0.02, "MIT") == (card.clean_accuracy, card.tolerance, card.licence)
    assert "mean 0.4, 0.5, 0.6, std 0.2, 0.25, 0.3" == card.normalisation


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (
            {"constraint": "eps 3"},
            "constraint: none, or such as 'l2 eps 3' or 'linf eps 4/255', not 'eps 3'",
        ),
        ({"clean_accuracy": 62.8}, "clean_accuracy: a share from 0 to 1, not 62.8"),
        ({"tolerance": -1.0}, "tolerance: a share from 0 to 1, not -1.0"),
    ],
)
def test_claims_that_make_no_sense_are_found_by_the_plan(
    card: dict[str, Json], expected: str
) -> None:
    component = Host.discover().component("vision/checkpoint", "source")
    settings: dict[str, Json] = {
        "architecture": NAME,
        "mean": list(MEAN),
        "std": list(STD),
        "card": card,
    }
    _, faults = component.options.validate(settings)

    assert [(("card",), expected)] == [(fault.path, fault.expected) for fault in faults]


def test_sizes_follow_from_the_data(tmp_path: Path) -> None:
    data: Dataset = toy(classes=4, shape=(3, 48, 48))
    card = read(tmp_path / "own.pt", data=data, outputs=None, pixels=None).card()

    assert ((3, 48, 48), 4) == (card.shape, card.outputs)
