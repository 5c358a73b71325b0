"""Checkpoints as training code writes them: several sets of weights, prefixes, buffers beside them, other heads."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from advtransfer.errors import AdvTransferError
from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import File, Json, Source
from advtransfer_vision.components.pretrained_sources import (
    checkpoint,
    robustness_checkpoint,
    torchvision_model,
)
from advtransfer_vision.pretrained import torchvision_networks
from advtransfer_vision.pretrained.safe_load import CheckpointError

NAME = "wide_resnet_10_1"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
INPUTS = torch.rand(2, 3, 32, 32, generator=stream_generator("inputs"))
UNUSED = "0" * 64
State = Mapping[str, Tensor]


@cache
def network(seed: int = 0) -> nn.Module:
    model: nn.Module = build_initialized(
        lambda: torchvision_networks.build_model(NAME, outputs=5, pixels=32),
        stream_generator("sets", seed),
    )
    return model.eval()


def state(prefix: str = "", seed: int = 0) -> dict[str, Tensor]:
    return OrderedDict(
        (prefix + name, tensor) for name, tensor in network(seed).state_dict().items()
    )


def own(content: object, folder: Path, **options: object) -> Source:
    torch.save(content, folder / "own.pt")
    said = {"architecture": NAME, "mean": MEAN, "std": STD, "outputs": 5, "pixels": 32, **options}
    return checkpoint(file=File(folder / "own.pt", UNUSED), **said)  # type: ignore[arg-type]  # of several types


def which(source: Source) -> tuple[int, Mapping[str, float | str]]:
    """The seed of the network whose logits the source gives, and the facts of its record."""
    module = cast(nn.Module, source.network())
    weights = source.weights(InMemoryContext())
    module.load_state_dict(dict(weights.tensors))
    normalised = (INPUTS - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    found = module.eval()(INPUTS)
    seeds = [
        seed for seed in range(3) if torch.allclose(found, network(seed)(normalised), atol=1e-5)
    ]
    assert 1 == len(seeds)
    return seeds[0], weights.facts


def fails(source: Source) -> str:
    with pytest.raises(AdvTransferError) as caught:
        source.weights(InMemoryContext())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("first", "average"),
    [
        ("state_dict", "state_dict_ema"),
        ("state_dict", "model_ema"),
        ("model", "model_ema"),
        ("model", "state_dict_ema"),
    ],
)
def test_moving_average_is_chosen_as_in_timm_and_recorded(
    tmp_path: Path, first: str, average: str
) -> None:
    seed, facts = which(
        own({"epoch": 3, first: state(), average: state("module.", seed=1)}, tmp_path)
    )

    assert 1 == seed
    assert (average, first) == (facts["key"], facts["other_keys"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model", "ema"),
        ("state_dict", "ema_state_dict"),
        ("model", "swa_model"),
        ("teacher", "student"),
        ("net", "averaged"),
        ("last", "best"),
        ("state_dict", "best_state_dict"),
        ("G", "G_ema"),
    ],
)
def test_suite_must_name_one_of_several_other_sets(tmp_path: Path, first: str, second: str) -> None:
    content = {"epoch": 3, first: state(), second: state("module.", seed=1)}
    message = fails(own(content, tmp_path))
    seed, facts = which(own(content, tmp_path, key=second))

    assert (
        f"found 2 sets of weights in {tmp_path}/own.pt, under {first!r} and {second!r}" in message
    )
    assert message.endswith(f"write `key: {first}` or `key: {second}`")
    assert 1 == seed
    assert (second, first) == (facts["key"], facts["other_keys"])


def test_nested_second_set_is_detected(tmp_path: Path) -> None:
    content = {"checkpoint": {"model": state(), "ema": {"weights": state(seed=1), "decay": 0.9}}}

    assert fails(own(content, tmp_path)).endswith(
        "write `key: checkpoint.model` or `key: checkpoint.ema.weights`"
    )
    assert 1 == which(own(content, tmp_path, key="checkpoint.ema.weights"))[0]


def test_equal_second_set_is_no_ambiguity(tmp_path: Path) -> None:
    assert 0 == which(own({"model": state(), "best": state()}, tmp_path))[0]


def test_optimisers_and_other_networks_are_no_second_sets(tmp_path: Path) -> None:
    other = models.squeezenet1_1(num_classes=5).state_dict()
    content = {
        "net": state(),
        "discriminator": other,
        "optimizer": {"momentum": state(seed=1)},
        "ema": None,
    }
    seed, facts = which(own(content, tmp_path))

    assert (0, "net") == (seed, facts["key"])
    assert "other_keys" not in facts


@pytest.mark.parametrize(
    "key", ["net", "state_dict", "model", "weights", "model_state", "params", "checkpoint"]
)
def test_weights_are_found_under_any_key(tmp_path: Path, key: str) -> None:
    content = {key: state(), "acc": 95.3, "epoch": 200, "args": argparse.Namespace(lr=0.1)}
    seed, facts = which(own(content, tmp_path))

    assert (0, key) == (seed, facts["key"])


def test_wrong_key_is_reported_with_the_existing_keys(tmp_path: Path) -> None:
    message = fails(own({"net": state(), "acc": 95.3}, tmp_path, key="nets"))

    assert "found no 'nets' in" in message
    assert message.endswith("which holds 'net', 'acc'; correct `key`; its weights are under 'net'")


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "backbone.",
        "encoder.",
        "module.model.",
        "module.encoder_q.",
        "1.",
        "a.b.c.",
    ],
)
def test_prefixes_are_found(tmp_path: Path, prefix: str) -> None:
    content = {
        "state_dict": {**state(prefix), "criterion.weight": torch.ones(2)},
        "hyper_parameters": {"lr": 0.1},
    }
    seed, facts = which(own(content, tmp_path))

    assert (0, 1) == (seed, facts["unused_tensors"])


def test_wrapper_names_are_stripped(tmp_path: Path) -> None:
    """As of pytorch/examples, which wraps the features of AlexNet and VGG alone."""
    inner = {name.replace("block2.", "block2.module."): one for name, one in state().items()}

    assert 0 == which(own(inner, tmp_path))[0]


@pytest.mark.parametrize(
    ("first", "second"), [("student.", "teacher."), ("encoder_q.", "encoder_k."), ("", "ema.")]
)
def test_suite_must_name_one_of_two_prefixes_with_different_weights(
    tmp_path: Path, first: str, second: str
) -> None:
    content = {**state(first), **state(second, seed=1)}

    assert f"under 2 prefixes in {tmp_path}/own.pt ({first!r}, {second!r})" in fails(
        own(content, tmp_path)
    )
    assert fails(own(content, tmp_path)).endswith(
        f"write `prefix: {first or repr('')}` or `prefix: {second}`"
    )
    assert 0 == which(own(content, tmp_path, prefix=first))[0]
    assert 1 == which(own(content, tmp_path, prefix=second))[0]


def test_counters_are_left_out_and_may_be_missing(tmp_path: Path) -> None:
    tensors = {
        name: one for name, one in state().items() if not name.endswith("num_batches_tracked")
    }
    thop = {
        "total_ops": torch.zeros(1),
        "conv1.total_params": torch.zeros(1),
        "n_averaged": torch.tensor(3),
    }
    seed, facts = which(own({**tensors, **thop}, tmp_path))

    assert (0, 3) == (seed, facts["unused_tensors"])


@pytest.mark.parametrize(
    ("names", "scale"),
    [
        (("mu", "sigma"), 1.0),
        (("mean", "std"), 1.0),
        (("normalize.mean", "normalize.std"), 1.0),
        (("normalizer.new_mean", "normalizer.new_std"), 1.0),
        (("pixel_mean", "pixel_std"), 255.0),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_normalisation_in_the_file_must_equal_that_of_the_suite(
    tmp_path: Path, names: tuple[str, str], scale: float, prefix: str
) -> None:
    buffers = {
        name: scale * torch.tensor(one).view(1, 3, 1, 1)
        for name, one in zip(names, (MEAN, STD), strict=True)
    }
    content = {"state_dict": {**buffers, **state(prefix)}}
    message = fails(own(content, tmp_path, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))

    assert 0 == which(own(content, tmp_path))[0]
    assert "found the mean 0.4914, 0.4822, 0.4465 in" in message
    assert message.endswith(
        "write `mean: [0.4914, 0.4822, 0.4465]`, `std: [0.2471, 0.2435, 0.2616]`"
    )


HEADLESS = [
    {name: one for name, one in state().items() if not name.startswith("fc.")},
    {
        ("fc.0." + name[3:] if name.startswith("fc.") else name): one
        for name, one in state().items()
    },
    {name: one for name, one in state("module.encoder_q.").items() if ".fc." not in name},
    {
        **{name: one for name, one in state().items() if not name.startswith("fc.")},
        "projector.0.weight": torch.ones(3),
    },
    {**state(), "fc.weight": torch.ones(7, 64), "fc.bias": torch.ones(7)},
]


@pytest.mark.parametrize(
    "content", HEADLESS, ids=["none", "two layers", "moco", "projector", "classes"]
)
def test_file_without_a_head_is_reported_with_the_option_new_head(
    tmp_path: Path, content: State
) -> None:
    source = own(content, tmp_path, new_head=True)
    weights = source.weights(InMemoryContext())
    body = {name: one for name, one in state().items() if not name.startswith("fc.")}

    assert "`new_head: true`" in fails(own(content, tmp_path))
    assert all(weights.tensors[f"model.{name}"].equal(one) for name, one in body.items())
    assert 1 == weights.facts["drawn_head"]
    assert not weights.tensors["model.fc.weight"].equal(state()["fc.weight"])


def test_new_head_is_drawn_from_the_init_stream(tmp_path: Path) -> None:
    source = own(HEADLESS[0], tmp_path, new_head=True)
    first, again = (
        source.weights(InMemoryContext(seed=0)).tensors["model.fc.weight"] for _ in range(2)
    )
    other = source.weights(InMemoryContext(seed=1)).tensors["model.fc.weight"]

    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_a_robustness_file_needs_no_data_parallel_around_it(tmp_path: Path, key: str) -> None:
    path = tmp_path / "bare.pt"
    parts = {**state("model."), **state("attacker.model.")}
    buffers = {
        "normalizer.new_mean": torch.tensor(MEAN).view(3, 1, 1),
        "normalizer.new_std": torch.tensor(STD),
    }
    torch.save({key: {**parts, **buffers}, "epoch": 3}, path)
    source = robustness_checkpoint(architecture=NAME, file=File(path, UNUSED), outputs=5, pixels=32)

    assert 0 == which(source)[0]


BROKEN: list[tuple[str, Callable[[Tensor], Tensor], str]] = [
    ("bn1.running_var", lambda one: -one - 1, "found negative running variances in"),
    ("fc.bias", lambda one: one * float("nan"), "found values that are not finite in"),
    ("conv1.weight", lambda one: one / 0, "found values that are not finite in"),
    ("fc.weight", lambda one: one.double() + 1e300, "found values beyond float32 in"),
    (
        "fc.weight",
        lambda one: (one * 100).to(torch.int8),
        "found 1 weights that are no plain floats in",
    ),
    ("bn1.weight", lambda one: one.float() + 3e38, "found logits that are not finite from"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN)
def test_broken_numbers_are_told_as_such(
    tmp_path: Path, name: str, change: Callable[[Tensor], Tensor], message: str
) -> None:
    assert fails(own({**state(), name: change(state()[name])}, tmp_path)).startswith(message)


@pytest.mark.parametrize("name", ["bn1.running_var", "conv1.weight"])
def test_broken_numbers_are_told_before_anything_else(tmp_path: Path, name: str) -> None:
    content = {
        **state(),
        name: state()[name] * float("nan"),
        "fc.weight": torch.ones(7, 64),
        "other": torch.ones(1),
    }

    assert fails(own(content, tmp_path)).startswith("found values that are not finite in")


@pytest.mark.parametrize(
    "use", ["torchvision_model", "robustness_checkpoint", "checkpoint", "huggingface", "timm"]
)
def test_errors_advise_options_that_the_component_has(use: str) -> None:
    component = Host.discover().component(f"vision/{use}", "source")
    wanted = {"key", "new_head"} | (set() if use == "robustness_checkpoint" else {"prefix"})

    assert wanted == {"key", "prefix", "new_head"} & component.options.fields.keys()


def test_torchvision_s_component_can_follow_the_advice_it_gets(tmp_path: Path) -> None:
    torch.save({**state("student."), **state("teacher.", seed=1)}, tmp_path / "two.pt")
    file = File(tmp_path / "two.pt", UNUSED)
    common: dict[str, Json] = {"architecture": NAME, "outputs": 5, "pixels": 32}
    message = fails(torchvision_model(file=file, **common))  # type: ignore[arg-type]  # options of several types
    source = torchvision_model(file=file, prefix="teacher.", **common)  # type: ignore[arg-type]  # options of all kinds

    assert message.endswith("write `prefix: student.` or `prefix: teacher.`")
    assert (
        source.weights(InMemoryContext())
        .tensors["model.fc.weight"]
        .equal(state(seed=1)["fc.weight"])
    )


def test_names_that_do_not_fit_are_counted_and_the_nearest_is_named(tmp_path: Path) -> None:
    renamed = {name.replace("block2.", "blocks2."): one for name, one in state().items()}
    message = fails(own(renamed, tmp_path))

    assert message.startswith(
        "found 11 names missing (block2.layer.0.bn1.weight, block2.layer.0.bn1.bias, "
    )
    assert "and 11 names unexpected (blocks2.layer.0.bn1.weight, " in message
    assert "'blocks2.layer.0.bn1.weight' is like 'block2.layer.0.bn1.weight'" in message


def test_other_file_than_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"found no tensors by name in .*, which holds a list"
    ):
        own([torch.ones(2)], tmp_path).weights(InMemoryContext())
