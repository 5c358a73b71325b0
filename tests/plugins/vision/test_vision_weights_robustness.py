"""Files as the robustness library writes them, made here by modules of the same structure."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import File, Json, Source
from advtransfer_vision.components.pretrained_sources import robustness_checkpoint
from advtransfer_vision.pretrained.claims import RELEASED_CHECKPOINTS
from advtransfer_vision.pretrained.safe_load import CheckpointError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
INPUTS = torch.rand(3, 3, 32, 32, generator=stream_generator("inputs"))
UNUSED = "0" * 64
SMALL = "shufflenet_v2_x0_5"


class InputNormalize(nn.Module):
    """The library's normaliser, as far as a state dict shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("new_mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("new_std", torch.tensor(STD).view(3, 1, 1))


class Holder(nn.Module):
    """A module with the given children: the library's ``AttackerModel``, ``Attacker`` and ``DummyModel``."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


class Schedule:
    """Pickled as an instance of a class that dill makes, with a function that dill makes."""

    def __reduce__(self) -> tuple[object, ...]:
        return Dilled("_create_type"), (), {"lr_lambda": Dilled("_create_function")}


class Dilled:
    """Pickled as a call of a function of dill."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return getattr(sys.modules["dill._dill"], self.name), ("name",)

    def __call__(self) -> None:
        """Nothing; pickle asks that it can be called."""


def dill() -> ModuleType:
    """A module ``dill._dill`` for the time of writing."""
    module = ModuleType("dill._dill")
    exec(
        "def _create_type(*_): assert False\ndef _create_function(*_): assert False",
        module.__dict__,
    )
    module._create_type.__module__ = module._create_function.__module__ = module.__name__
    return module


class Evil:
    """Pickled as a call that makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def network(name: str = SMALL, outputs: int = 5) -> nn.Module:
    """One of torchvision's, its batch normalisation as if it had seen something."""

    def build() -> nn.Module:
        model: nn.Module = models.get_model(name, num_classes=outputs)
        for key, value in model.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
        return model

    return build_initialized(build, stream_generator("robust")).eval()


def cifar_resnet18() -> nn.Module:
    """The library's own, in torchvision's modules."""
    model = network("resnet18", outputs=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def saved_state(model: nn.Module) -> dict[str, Tensor]:
    """What ``train.py`` saves: the state of a DataParallel around an AttackerModel, which has the network twice."""
    attacker = Holder(normalize=InputNormalize(), model=model)
    return nn.DataParallel(
        Holder(normalizer=InputNormalize(), model=model, attacker=attacker)
    ).state_dict()


def optimiser(model: nn.Module) -> torch.optim.Optimizer:
    """An optimiser that has made a step."""
    found = torch.optim.SGD(list(model.parameters())[-1:], lr=0.1, momentum=0.9)
    model(INPUTS).sum().backward()
    found.step()
    model.zero_grad()
    return found


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Writes a file as the library does, and gives the source that reads it."""

    def source(
        state: Mapping[str, Tensor],
        *,
        architecture: str = SMALL,
        outputs: int | None = 5,
        pixels: int | None = 32,
        key: str = "model",
        zipped: bool = False,
        **content: object,
    ) -> Source:
        path = tmp_path / f"{architecture}_l2_eps3.ckpt"
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "dill", ModuleType("dill"))
            patched.setitem(sys.modules, "dill._dill", dill())
            torch.save(
                {key: state, "epoch": 90, **content}, path, _use_new_zipfile_serialization=zipped
            )
        file = File(path, UNUSED)
        return robustness_checkpoint(
            architecture=architecture, file=file, outputs=outputs, pixels=pixels
        )

    return source


def filled(source: Source) -> nn.Module:
    module = source.network()
    assert isinstance(module, nn.Module)
    module.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    return module.eval()


def normalised(
    mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, inputs: Tensor = INPUTS
) -> Tensor:
    return (inputs - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@pytest.mark.parametrize(
    ("architecture", "key", "zipped"),
    [
        ("resnet18", "model", True),
        (SMALL, "model", False),
        (SMALL, "state_dict", False),
        (SMALL, "state_dict", True),
    ],
)
def test_logits_are_those_of_the_plain_network(
    write: Callable[..., Source], architecture: str, key: str, zipped: bool
) -> None:
    model = network(architecture)
    ballast = {
        "optimizer": optimiser(model),
        "schedule": Schedule(),
        "amp": None,
        "adv_prec1": torch.tensor(35.2),
    }
    found = filled(
        write(saved_state(model), architecture=architecture, key=key, zipped=zipped, **ballast)
    )

    torch.testing.assert_close(found(INPUTS), model(normalised()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", ["mnasnet0_5", "shufflenet_v2_x0_5"])
def test_a_network_that_is_wrapped_once_more_is_read_as_well(
    write: Callable[..., Source], architecture: str
) -> None:
    model = network(architecture)
    found = filled(write(saved_state(Holder(model=model)), architecture=architecture))

    torch.testing.assert_close(found(INPUTS), model(normalised()), atol=1e-6, rtol=0)


def test_the_library_s_cifar_resnets_are_read_under_torchvision_s_names(
    write: Callable[..., Source],
) -> None:
    model = cifar_resnet18().eval()
    theirs = {
        name.replace(".downsample.", ".shortcut.").replace("fc.", "linear."): value
        for name, value in model.state_dict().items()
    }
    state = {
        f"module.{part}{name}": value
        for part in ("model.", "attacker.model.")
        for name, value in theirs.items()
    }
    source = write(state, architecture="cifar_resnet18", outputs=None, pixels=None)

    assert ((3, 32, 32), 10) == (source.card().shape, source.card().outputs)
    torch.testing.assert_close(filled(source)(INPUTS), model(normalised(*CIFAR)), atol=1e-6, rtol=0)


def test_a_file_without_a_normaliser_is_taken_for_imagenet_s(write: Callable[..., Source]) -> None:
    model = network()
    state = {name: value for name, value in saved_state(model).items() if "normaliz" not in name}

    torch.testing.assert_close(
        filled(write(state))(INPUTS), model(normalised(*IMAGENET)), atol=1e-6, rtol=0
    )


def test_inputs_are_clamped_to_the_pixel_range_first(write: Callable[..., Source]) -> None:
    model, wide = network(), 3 * INPUTS - 1

    torch.testing.assert_close(
        filled(write(saved_state(model)))(wide),
        model(normalised(inputs=wide.clamp(0, 1))),
        atol=1e-6,
        rtol=0,
    )


def test_the_facts_say_which_normalisation_was_found(write: Callable[..., Source]) -> None:
    facts = write(saved_state(network())).weights(InMemoryContext()).facts

    assert MEAN == pytest.approx([facts[f"mean_{channel}"] for channel in range(3)])
    assert STD == pytest.approx([facts[f"std_{channel}"] for channel in range(3)])


def fails(source: Source) -> str:
    with pytest.raises(CheckpointError) as caught:
        source.weights(InMemoryContext())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_malicious_file_is_refused_and_not_run(
    write: Callable[..., Source], tmp_path: Path
) -> None:
    mark = tmp_path / "made"
    message = fails(write(saved_state(network()), schedule=Evil(mark)))

    assert message.startswith(
        f"found 'posix.system' in {tmp_path}/{SMALL}_l2_eps3.ckpt, which would be imported"
    )
    assert not mark.exists()


def test_truncated_file_is_an_error(write: Callable[..., Source], tmp_path: Path) -> None:
    source = write(saved_state(network()), zipped=True)
    path = tmp_path / f"{SMALL}_l2_eps3.ckpt"
    path.write_bytes(path.read_bytes()[:-1000])

    assert fails(source).startswith(f"found a damaged or truncated file {path} (RuntimeError: ")


@pytest.mark.parametrize(
    ("architecture", "found"),
    [
        ("shufflenet_v2_x1_0", r"found \d+ names of another shape \(stage2.0.branch1.2.weight is "),
        (
            "mnasnet0_5",
            r"found \d+ names missing \(conv1.0.weight, .* and \d+ names unexpected \(layers.0.weight, ",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused(
    write: Callable[..., Source], architecture: str, found: str
) -> None:
    message = fails(write(saved_state(network(architecture))))

    assert re.match(found, message)
    assert f"; expected exactly the weights of {SMALL}; correct `architecture`" in message


def test_weights_for_another_number_of_classes_are_refused(write: Callable[..., Source]) -> None:
    message = fails(write(saved_state(network()), outputs=None))

    assert message.startswith("found 5 classes in ")
    assert (
        "(fc.weight is (5, 1024)); expected 1000; write `outputs: 5`, or give `data` of 5 classes"
        in message
    )


def test_a_file_whose_copies_of_the_network_differ_is_refused(write: Callable[..., Source]) -> None:
    state = saved_state(network())
    state["module.attacker.model.fc.bias"] = state["module.attacker.model.fc.bias"] + 1

    assert "found attacker.model.fc.bias that is not a copy of the network's in" in fails(
        write(state)
    )


def test_file_of_another_library_is_refused(write: Callable[..., Source]) -> None:
    message = fails(write(network().state_dict()))

    assert message.startswith("found 'conv1.0.weight', 'conv1.1.weight', 'conv1.1.bias' ... in ")
    assert "expected names that begin with 'module.model.'" in message


def test_neither_a_file_nor_a_hub_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="found neither a file nor a hub; expected one of them; write `file: PATH`"
    ):
        robustness_checkpoint(architecture="resnet18")


COMPONENT = Host.discover().component("vision/robustness_checkpoint", "source")


def preset(name: str) -> dict[str, Json]:
    """The options that a preset stands for, as the plan checks them."""
    values, faults = COMPONENT.options.validate(COMPONENT.metadata.presets[name])
    assert [] == faults
    return values


@pytest.mark.parametrize(
    ("name", "architecture", "constraint", "accuracy"),
    [
        ("imagenet_l2_3_0", "resnet50", "l2 eps 3", 0.5790),
        ("imagenet_linf_4", "resnet50", "linf eps 4/255", 0.6242),
        ("cifar_nat", "cifar_resnet50", "none", 0.9525),
        ("resnet50_linf_eps4.0", "resnet50", "linf eps 4/255", 0.6386),
        ("resnet50_l2_eps3", "resnet50", "l2 eps 3", 0.6283),
        ("resnet18_l2_eps0", "resnet18", "none", 0.6979),
    ],
)
def test_preset_has_the_architecture_and_claims_of_a_released_file(
    name: str, architecture: str, constraint: str, accuracy: float
) -> None:
    values = preset(name)
    card = cast("dict[str, Json]", values["card"])

    assert (architecture, constraint, accuracy) == (
        values["architecture"],
        card["constraint"],
        card["clean_accuracy"],
    )


@pytest.mark.parametrize("name", RELEASED_CHECKPOINTS)
def test_every_preset_passes_the_plan_s_checks(name: str) -> None:
    assert {"architecture", "card"} <= preset(name).keys()


def test_card_has_the_claims_of_the_preset() -> None:
    data = toy(classes=10, shape=(3, 32, 32))
    built = COMPONENT.build(
        preset("cifar_l2_0_5"), {"file": File(Path("cifar_l2_0_5.pt"), UNUSED), "data": data}
    )
    card = cast(Source, built).card()

    assert ("cifar_resnet50", "l2 eps 0.5", "CIFAR-10") == (
        card.architecture,
        card.constraint,
        card.data,
    )
    assert (0.9083, "Engstrom et al., 2019") == (card.clean_accuracy, card.citation)
    assert str(card.normalisation).startswith(
        "the checkpoint's own (else mean 0.4914, 0.4822, 0.4465, std 0.2023,"
    )
