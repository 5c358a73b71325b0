"""Modules and arrays in memory: exact robust accuracies, ids, changes, and rows that cannot be rebuilt."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import advtransfer as at
from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import SourceInMemory
from advtransfer.cache import Cache
from advtransfer.errors import BadInput
from advtransfer.publication.in_memory import in_memory_problems, is_in_memory
from advtransfer.result import Run
from advtransfer.types import Json

EPS = 0.05
PGD: dict[str, Json] = {
    "use": "foolbox/pgd",
    "norm": "linf",
    "eps": EPS,
    "steps": 20,
    "step_size": 0.01,
}
SUITE = """
datasets:
  digits: {use: vision/digits}
targets:
  digits: {data: digits, n: [20], seeds: 1, test: 30}
transfers:
  same: {use: finetune/unchanged}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""
CODE = """
from torch import nn
class Net(nn.Module):
    def __init__(self, width=4, sign=1):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3)
        self.out = nn.Linear(width, 10)
        self.sign = sign
    def forward(self, x):
        return self.sign * self.out(self.first(x).relu().mean((2, 3)))
FACTOR = 1
class Headless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 2)
    def forward(self, x):
        import memory_net  # The file as the caller imported it, as an imported module is.
        return memory_net.FACTOR * self.layer(x.flatten(1))
"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., nn.Module]]:
    (tmp_path / "memory_net.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("memory_net").Net
    del sys.modules["memory_net"]


class Linear(nn.Module):
    """Two logits, whose difference is ``sign * (w x + b)``."""

    def __init__(self, weight: Tensor, bias: float, sign: int = 1) -> None:
        super().__init__()
        self.weight, self.bias, self.sign = nn.Parameter(weight), bias, sign

    def forward(self, inputs: Tensor) -> Tensor:
        margin = self.sign * (inputs.flatten(1) @ self.weight + self.bias)
        return torch.stack([-margin / 2, margin / 2], 1)


def linear_task() -> tuple[Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, generator=generator)
    inputs = torch.rand(40, 1, 4, 4, generator=generator)
    bias = -float(weight.sum()) / 2
    return Linear(weight, bias), inputs, (inputs.flatten(1) @ weight + bias > 0).long()


def exact_share(model: Linear, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of images that no point of the ball inside the box brings to the other class."""
    with torch.no_grad():
        slope = model.sign * model.weight * (2 * labels - 1)[:, None]
        pixels = inputs.flatten(1)
        worst = torch.where(slope > 0, pixels - EPS, pixels + EPS).clamp(0, 1)
        margin = (worst * slope).sum(1) + model.sign * model.bias * (2 * labels - 1)
        return float((margin > 0).double().mean())


def arrays(inputs: Tensor, labels: Tensor) -> DatasetInMemory:
    return at.dataset(train=(inputs[:20], labels[:20]), test=(inputs[20:], labels[20:]))


def test_a_linear_model_has_its_exact_robust_accuracy_and_a_verdict() -> None:
    model, inputs, labels = linear_task()
    measured = at.evaluate(model, arrays(inputs, labels), {"pgd": PGD})
    exact = exact_share(model, inputs[20:], labels[20:])

    assert 0 < exact < 1
    assert measured["pgd"].metrics["robust_accuracy@0.05"] == pytest.approx(exact)
    assert measured["pgd"].verdict == "checked"
    assert measured["pgd"].checks
    assert not list(Path("cache").rglob("*.safetensors"))


def test_equal_weights_and_different_forwards_get_their_own_accuracies_in_either_order() -> None:
    model, inputs, labels = linear_task()
    # The bias is no parameter, so that the weights of both are equal.
    other = Linear(model.weight.detach().clone(), model.bias + 0.5)
    assert str(model.state_dict()) == str(other.state_dict())
    data = arrays(inputs, labels)
    suite = {
        "targets": {"t": {"data": "d", "n": ["all"], "seeds": 1}},
        "transfers": {"same": {"use": "finetune/unchanged"}},
        "evaluations": {"pgd": PGD},
    }

    def robust_accuracy(module: nn.Module) -> object:
        report = at.run(
            suite,
            name="twins",
            sources={"mine": at.source(module)},
            datasets={"d": data},
            battery="none",
            quiet=True,
        )
        (row,) = [row for row in report.rows() if row["metric"] == "attack_accuracy@0.05"]
        assert "in memory: cannot be rebuilt" in str(row["reason"])
        assert "in memory: cannot be rebuilt" in Path("runs/twins/leaderboard.md").read_text()
        return row["value"]

    own, others = (exact_share(each, inputs[20:], labels[20:]) for each in (model, other))
    assert own != others
    assert [robust_accuracy(each) for each in (model, other, model)] == [own, others, own]
    problems = list(in_memory_problems(Run(Path("runs/twins"))))
    assert "in memory: cannot be rebuilt" in str(problems)
    records = list(Run(Path("runs/twins")).read_records())
    assert len({record["id"] for record in records if is_in_memory(record)}) == 3
    assert not Cache(Path("cache"), line="any").registered_runs()


def test_rebuild_and_the_same_checkpoint_in_a_suite_give_equal_numbers(
    net: Callable[..., nn.Module],
) -> None:
    module = net(width=3)
    torch.save(module.state_dict(), "net.pt")
    mine = at.source(module, rebuild=(net, {"width": 3}), trained_on="digits")
    ours = at.run(
        SUITE, name="ours", sources={"mine": mine}, jobs=1, executor="local/inline", quiet=True
    )
    entry = "{use: vision/module, code: memory_net.py, name: Net, arguments: {width: 3}, "
    text = f"{SUITE}sources:\n  mine: {entry}file: net.pt, data: digits}}\n"
    theirs = at.run(text, name="theirs", jobs=1, executor="local/inline", quiet=True)

    assert ours.rows()[0]["value"] == theirs.rows()[0]["value"]
    assert not list(in_memory_problems(Run(Path("runs/ours"))))
    inputs = torch.rand(4, 1, 8, 8)
    for report in (ours, at.open("runs/theirs")):
        fitted = report.model("mine -> digits n=20 seed=0 same")
        assert fitted(inputs).equal(module(inputs))


def refused(**sources: SourceInMemory) -> str:
    with pytest.raises(BadInput) as error:
        at.run(SUITE, name="refused", sources=sources, quiet=True)
    return str(error.value)


def test_changes_after_the_source_was_given_are_refused(net: Callable[..., nn.Module]) -> None:
    module = net()
    mine = at.source(module, rebuild=net, trained_on="digits")
    handle = module.get_submodule("first").register_forward_hook(lambda *_: None)
    assert "found a forward hook on 'first' of the source 'mine'" in refused(mine=mine)
    with pytest.raises(BadInput, match="found a forward hook on 'first'"):
        at.source(module)
    handle.remove()
    with torch.no_grad():
        module.get_parameter("out.bias").add_(1)
    assert "found weights of the source 'mine' that have changed" in refused(mine=mine)


def test_a_factory_that_builds_another_module_is_refused(net: Callable[..., nn.Module]) -> None:
    module = net(sign=-1)
    text = refused(mine=at.source(module, rebuild=net, trained_on="digits"))
    assert "gives other logits when it is built again" in text
    text = refused(mine=at.source(module, rebuild=(net, {"width": 5}), trained_on="digits"))
    assert "cannot be built again" in text


def test_all_sources_that_cannot_be_used_are_named_at_once(net: Callable[..., nn.Module]) -> None:
    class NoLogits(nn.Module):
        def forward(self, inputs: Tensor) -> None:
            """Return nothing."""

    nothing = {name: at.source(NoLogits(), trained_on="digits") for name in ("first", "second")}
    text = refused(**nothing, fine=at.source(net(), trained_on="digits"))
    assert "'first'" in text
    assert "'second'" in text
    assert "'fine'" not in text

    other = at.source(net(sign=-1), rebuild=net, trained_on="digits")
    text = refused(third=other, fourth=other)
    assert "'third'" in text
    assert "'fourth'" in text


def test_a_network_without_a_head_is_measured_exactly_when_it_is_rebuilt(
    net: Callable[..., nn.Module],
) -> None:
    _, inputs, labels = linear_task()
    own = {}
    for sign in (1, -1):
        # Equal weights, code and arguments; another setting of the module of the file.
        sys.modules["memory_net"].FACTOR = sign  # type: ignore[attr-defined]  # of CODE
        module = importlib.import_module("memory_net").Headless()
        with torch.no_grad():
            module.layer.weight.copy_(torch.linspace(-1, 1, 32).reshape(2, 16))
            module.layer.bias.zero_()
            correct = (module(inputs[20:]).argmax(1) == labels[20:]).double().mean().item()
        mine = at.source(module, rebuild=type(module))
        suite = {
            "targets": {"t": {"data": "d", "n": ["all"], "seeds": 1}},
            "transfers": {"same": {"use": "finetune/unchanged"}},
            "evaluations": {"clean": {"use": "foolbox/clean_accuracy"}},
        }
        report = at.run(
            suite,
            name="headless",
            sources={"mine": mine},
            datasets={"d": arrays(inputs, labels)},
            executor="local/inline",
            battery="none",
            quiet=True,
        )
        value = report.rows()[0]["value"]
        assert isinstance(value, float)
        own[sign] = value
        assert own[sign] == pytest.approx(correct)
    assert own[1] + own[-1] == pytest.approx(1)


SMALL = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
PAIR = (np.zeros((4, 1, 2, 2), np.float32), np.array([0, 1, 0, 1]))
WRONG_ARGUMENTS: dict[str, tuple[Callable[..., object], str]] = {
    "arrays as data": (
        lambda: at.evaluate(SMALL, PAIR, {"c": "foolbox/clean_accuracy"}),  # type: ignore[arg-type]  # wrong on purpose
        "found data=a tuple; .*advtransfer.dataset",
    ),
    "meta": (
        lambda: at.source(nn.Linear(4, 2, device="meta")),
        r"weights without values, on the device meta \(weight, bias\)",
    ),
    "lazy": (
        lambda: at.source(nn.Sequential(nn.LazyLinear(2))),
        r"^found uninitialised parameters .*; run one batch through the module first$",
    ),
    "float64": (
        lambda: at.evaluate(
            nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double(),
            at.dataset(train=PAIR, test=PAIR),
            {"c": "foolbox/clean_accuracy"},
        ),
        r"call module.float\(\)",
    ),
    **{
        f"source {name}={value!r}": (
            lambda name=name, value=value: at.source(SMALL, **{name: value}),
            f"found {name}=",
        )
        for name, value in (
            ("normalize", 0.5),
            ("normalize", ([0.5], [0.5], [0.5])),
            ("normalize", [None]),
            ("shape", 8),
            ("blocks", "body"),
            ("bounds", (0, 1, 2)),
            ("trained_on", 3),
        )
    },
    **{
        f"dataset bounds={value!r}": (
            lambda value=value: at.dataset(train=PAIR, test=PAIR, bounds=value),
            "found bounds=.*expected two numbers",
        )
        for value in ("ab", None, (0, 1, 2), (0, float("nan")))
    },
    "ragged": (
        lambda: at.dataset(train=([[1], [1, 2]], [0, 1]), test=PAIR),
        "found train images that are no array",
    ),
    "NHWC": (
        lambda: at.dataset(train=(np.zeros((4, 8, 8, 3)), PAIR[1]), test=PAIR),
        r"seems to be \(N, H, W, C\)",
    ),
    "large class": (
        lambda: at.dataset(train=(PAIR[0], PAIR[1].astype("u8") * 2**63), test=PAIR),
        "with the class 9223372036854775808",
    ),
    "sources in a list": (
        lambda: at.run(SUITE, name="wrong", sources=[SMALL]),  # type: ignore[arg-type]  # wrong on purpose
        "found sources=a list",
    ),
    "component": (lambda: at.show("foolbox/pdg"), "found 'foolbox/pdg'.*did you mean"),
    "plugin": (lambda: at.check("nope"), "found 'nope'"),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_wrong_arguments_are_told(name: str) -> None:
    call, message = WRONG_ARGUMENTS[name]
    with pytest.raises(BadInput, match=message) as error:
        call()
    assert error.value.problems


def test_all_mistakes_of_a_source_and_of_an_evaluation_are_told_at_once() -> None:
    with pytest.raises(BadInput) as error:
        at.source(SMALL, shape=(), blocks="body", bounds=(1, 0), normalize=0.5)  # type: ignore[arg-type]  # wrong on purpose
    assert len(error.value.problems) == 4
    with pytest.raises(BadInput) as error:
        at.evaluate(nn.LazyLinear(2), None, {})  # type: ignore[arg-type]  # wrong on purpose
    assert len(error.value.problems) == 3


def test_a_plan_takes_what_a_run_takes() -> None:
    table = at.plan(SUITE, name="planned", sources={"mine": at.source(SMALL, shape=(1, 2, 2))})
    (row,) = table
    assert (row["source"], row["state"]) == ("mine", "todo")


def test_a_factory_without_a_file_is_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(BadInput, match="no file holds by a name"):
        at.source(module, rebuild=lambda: module)


def test_all_mistakes_of_arrays_are_told_at_once() -> None:
    images = np.zeros((4, 1, 2, 2), np.float32)
    broken = images.copy()
    broken[2, 0, 0, 0] = np.nan
    with pytest.raises(BadInput) as error:
        at.dataset(
            train=(broken, np.array([0, 1, -1, 0])),
            test=(images[:, :, :1] + 3, np.array([0.0, 1, 0, 1])),
        )
    text = str(error.value)
    assert "train images with values that are not finite, first in image 2" in text
    assert "train labels with the class -1" in text
    assert "test images with values from 3 to 3" in text
    assert "test labels of shape (4,) and type float64" in text
    assert "found train images (1, 2, 2) and test images (1, 1, 2)" in text
    assert len(error.value.problems) == 5


def test_arrays_become_the_same_file_each_time_and_bounds_become_0_and_1(tmp_path: Path) -> None:
    images = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 1, 2, 2)
    labels = np.array([0, 1, 0, 1])
    data = at.dataset(train=(images, labels), test=(images, labels), bounds=(-1, 1))
    again = at.dataset(
        train=(torch.from_numpy(images), labels), test=(images, labels), bounds=(-1, 1)
    )

    assert data.write_entry(tmp_path) == again.write_entry(tmp_path)
    assert data.arrays["x_train"].ravel() == pytest.approx(np.linspace(0, 1, 16), abs=1e-6)


def test_a_trial_that_is_not_there_is_named() -> None:
    model, inputs, labels = linear_task()
    measured = at.evaluate(
        model, arrays(inputs, labels), {"clean": "foolbox/clean_accuracy"}, battery="none"
    )
    with pytest.raises(BadInput, match="found no trials 'mode -> data'"):
        measured.report.model("mode -> data")
    with pytest.raises(BadInput, match="found trial=None"):
        measured.report.model(None)  # type: ignore[arg-type]  # wrong on purpose
    fitted = measured.report.model(str(measured.report.rows()[0]["trial"]))
    assert fitted(inputs).equal(model(inputs))
