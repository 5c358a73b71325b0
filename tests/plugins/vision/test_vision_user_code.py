"""``vision/module``: a class of a user's own file, its mistakes, and what lies around it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from advtransfer.errors import AdvTransferError
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.file_digests import content_sha256
from advtransfer.toolkit.module_network import WholeNetwork, fixed_logits, wrap_module
from advtransfer.types import File
from advtransfer_vision.components.pretrained_sources import module
from advtransfer_vision.pretrained.source import PretrainedSource

CODE = """
from torch import nn
from .parts import scale
class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3)
        self.out = nn.Linear(width, 2)
    def forward(self, x):
        return self.out(scale * self.first(x).relu().mean((2, 3)))
class Negated(Net):
    def forward(self, x):
        return -super().forward(x)
def broken():
    raise KeyError("no width")
"""


def code(folder: Path, text: str = CODE) -> File:
    package = folder / "own_nets_of_a_user"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("scale = 2.0\n")
    path = package / "nets.py"
    path.write_text(text)
    return File(path, content_sha256(path))


def build(folder: Path, name: str = "Net", **options: object) -> PretrainedSource:
    settings = {"package": "own_nets_of_a_user", "shape": (1, 6, 6), "outputs": 2, **options}
    return module(code=code(folder), name=name, **settings)  # type: ignore[arg-type, return-value]  # options of many types


def saved(folder: Path, state: dict[str, torch.Tensor]) -> File:
    path = folder / "net.pt"
    torch.save(state, path)
    return File(path, content_sha256(path))


def test_the_logits_are_those_of_the_class_on_moved_and_normalised_inputs(tmp_path: Path) -> None:
    drawn = build(tmp_path).network()
    state = {name.removeprefix("model."): item for name, item in drawn.state_dict().items()}
    source = build(
        tmp_path, file=saved(tmp_path, state), bounds=(-1.0, 1.0), mean=(0.5,), std=(0.25,)
    )
    network = source.network().eval()
    network.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    inputs = torch.rand(3, 1, 6, 6)

    expected = drawn.model.eval()((inputs * 2 - 1 - 0.5) / 0.25)
    torch.testing.assert_close(network(inputs), expected)
    assert list(network.blocks) == ["first"]
    torch.testing.assert_close(network.head(network.features(inputs)), expected)


def test_a_network_without_a_certain_head_gives_its_logits(tmp_path: Path) -> None:
    drawn = build(tmp_path, "Negated").network()
    assert isinstance(drawn, WholeNetwork)
    source = build(tmp_path, "Negated", file=saved(tmp_path, drawn.model.state_dict()))
    network = source.network().eval()
    network.load_state_dict(dict(source.weights(InMemoryContext()).tensors))
    inputs = torch.rand(3, 1, 6, 6)
    assert network(inputs).equal(drawn.eval()(inputs))


def test_other_logits_than_those_of_the_file_are_an_error_where_the_network_is_built(
    tmp_path: Path,
) -> None:
    model = build(tmp_path).network().model
    logits = tmp_path / "logits.pt"
    torch.save({"logits": fixed_logits(model, (1, 6, 6)) * (1 + 1e-6)}, logits)
    source = build(
        tmp_path,
        file=saved(tmp_path, model.state_dict()),
        logits=File(logits, content_sha256(logits)),
    )
    source.network()

    parts = importlib.import_module("own_nets_of_a_user.parts")
    code_module = sys.modules[type(model).__module__]
    assert parts.scale == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_module, "scale", -2.0)
        with pytest.raises(AdvTransferError, match=r"Net, which gives other logits .* \(by up to"):
            source.network()
    source.network()
    with pytest.raises(ValueError, match="write `file`"):
        build(tmp_path, logits=File(logits, content_sha256(logits)))


def test_names_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = dict(nn.Linear(3, 2).state_dict())
    with pytest.raises(AdvTransferError, match=r"missing \(first.weight"):
        build(tmp_path, file=saved(tmp_path, state)).weights(InMemoryContext())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nett", "found no class or function 'Nett' in .*did you mean 'Net'"),
        ("broken", "found broken of .*, which fails .*no width"),
    ],
)
def test_a_wrong_name_and_code_that_fails_are_told(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(AdvTransferError, match=message):
        build(tmp_path, name).network()


def test_relative_imports_need_the_package(tmp_path: Path) -> None:
    with pytest.raises(AdvTransferError, match="write `package`"):
        build(tmp_path, package=None).network()


def test_without_data_the_sizes_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected the shape of one input"):
        build(tmp_path, shape=None)


def test_a_network_whose_last_linear_layer_is_not_the_head_gives_logits_alone() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = 3 * self.last(self.first(inputs))
            return logits

    network = wrap_module(Scaled(), (4,))
    assert isinstance(network, WholeNetwork)
    with pytest.raises(ValueError, match="name `blocks` and `head`"):
        network.features(torch.zeros(1, 4))
