"""Which names a pickle of weights may say, and that nothing of them is imported or called."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_vision.pretrained.safe_load import (
    IGNORED_NAMES,
    MAPPING_CLASSES,
    REBUILD_FUNCTIONS,
    CheckpointError,
    Placeholder,
    read_weights,
)

WEIGHTS = build_initialized(lambda: nn.Linear(3, 2), stream_generator("safe load")).state_dict()


def same(found: object, expected: dict[str, Tensor]) -> bool:
    return isinstance(found, dict) and all(
        found[name].equal(tensor) for name, tensor in expected.items()
    )


PurePickler: Any = pickle._Pickler  # Any: the pickler in Python, which is not annotated


class Bare(PurePickler):  # type: ignore[misc]  # Any, as said above
    """Writes a name as a pickle does, whether or not there is anything of that name here."""

    dispatch = PurePickler.dispatch.copy()

    def save_name(self, named: Name) -> None:
        self.write(b"c%s\n%s\n" % tuple(part.encode() for part in named.parts))
        self.memoize(named)

    def save_call(self, call: Call) -> None:
        self.save(call.function)
        self.save(call.arguments)
        self.write(pickle.REDUCE)
        self.memoize(call)
        if call.items:
            self._batch_setitems(call.items.items())
        if call.state is not None:
            self.save(call.state)
            self.write(pickle.BUILD)


class Name:
    """Pickled as the name of a class or function in a module."""

    def __init__(self, module: str, name: str) -> None:
        self.parts = module, name


class Call:
    """Pickled as what a call of a name gives, with items and a state."""

    def __init__(
        self,
        function: Name,
        *arguments: object,
        items: dict[str, object] | None = None,
        state: object = None,
    ) -> None:
        self.function, self.arguments, self.items, self.state = function, arguments, items, state


Bare.dispatch |= {Name: Bare.save_name, Call: Bare.save_call}


def written(path: Path, **beside: object) -> None:
    """A torch file whose pickle says more than torch would write."""
    torch.save(
        {"model": WEIGHTS, **beside},
        path,
        pickle_module=SimpleNamespace(Pickler=Bare, **vars_of_pickle()),
    )


def vars_of_pickle() -> dict[str, object]:
    return {"dump": pickle.dump, "dumps": pickle.dumps, "__name__": "pickle"}


ALLOWED = [
    ("__builtin__", "__main__"),
    ("builtins", "__main__"),
    ("__builtin__", "bytes"),
    ("builtins", "bytes"),
    ("__builtin__", "unicode"),
    ("__builtin__", "type"),
    ("__main__", "__dict__"),
    ("argparse", "Namespace"),
    ("functools", "partial"),
    ("pathlib", "PosixPath"),
    ("datetime", "datetime"),
    ("typing", "Any"),
    ("types", "FunctionType"),
    ("random", "Random"),
    ("enum", "Enum"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("torch.optim.lr_scheduler", "LambdaLR"),
    ("torch.nn.modules.loss", "CrossEntropyLoss"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.utils.data.dataloader", "DataLoader"),
    ("torch.torch_version", "TorchVersion"),
    ("torchvision.transforms.transforms", "Compose"),
    ("omegaconf.listconfig", "ListConfig"),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    ("lightning.pytorch.callbacks", "EarlyStopping"),
    ("cox.utils", "Parameters"),
    ("dill._dill", "_create_function"),
    ("dill", "loads"),
    ("timm.utils.model_ema", "ModelEma"),
    ("pandas.core.frame", "DataFrame"),
]
"""A name of each kind that is read as nothing."""

MAPPED = [
    ("__main__", "Weights"),
    ("__main__", "Config"),
    ("collections", "defaultdict"),
    ("mine.utils", "StateDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("yacs.config", "CfgNode"),
    ("addict.addict", "Dict"),
]
"""A name of each kind that is read as a plain mapping."""


@pytest.mark.parametrize(("module", "name"), ALLOWED)
def test_a_placeholder_name_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    path, mark = tmp_path / "ballast.pt", tmp_path / "made"
    trap(monkeypatch, module, name, mark)
    named = Name(module, name)
    written(
        path,
        name=named,
        call=Call(named, "x", 1, state={"lr": 0.1}),
        items=Call(named, items={"step": 3}),
    )
    content = read_weights(path)

    assert isinstance(content, dict)
    assert same(content["model"], WEIGHTS)
    assert [Placeholder] * 3 == [content["name"], content["call"], content["items"]]
    assert not mark.exists()


@pytest.mark.parametrize(("module", "name"), MAPPED)
def test_a_mapping_subclass_keeps_its_weights_and_is_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    path, mark = tmp_path / "mapped.pt", tmp_path / "made"
    trap(monkeypatch, module, name, mark)
    named = Name(module, name)
    own = Call(named, "x", items={**WEIGHTS}, state={"_metadata": 1})
    written(path, own=own, keys={named: 1}, made=Call(named, ("x", 1)))
    content = read_weights(path)

    assert isinstance(content, dict)
    assert same(content["own"], WEIGHTS)
    assert {} == content["made"]
    assert not mark.exists()


def trap(monkeypatch: pytest.MonkeyPatch, module: str, name: str, mark: Path) -> None:
    """Makes a file as soon as a module of this name is looked for."""

    class Finder:
        def find_spec(self, wanted: str, *others: object) -> None:
            if wanted == module:
                mark.touch()

    monkeypatch.delitem(sys.modules, module, raising=False) if module not in KEPT else None
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


KEPT = {
    "__main__",
    "builtins",
    "argparse",
    "functools",
    "pathlib",
    "datetime",
    "typing",
    "types",
    "random",
    "enum",
} | {
    "copyreg",
    "numpy",
    "collections",
}
"""Modules that the interpreter cannot do without for a moment."""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("os", "system"),
        ("__builtin__", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("__builtin__", "apply"),
        ("builtins", "__import__"),
        ("operator", "attrgetter"),
        ("subprocess", "Popen"),
        ("pickle", "loads"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.hub", "load"),
        ("torch.jit", "load"),
        ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
        ("numpyx", "load"),
        ("mymodels.resnet", "ResNet"),
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "other.pt"
    written(path, other=Call(Name(module, name), "x"))
    with pytest.raises(
        CheckpointError, match=rf"found '{module}.{name}' in .*other.pt, .*; nothing of it was run"
    ):
        read_weights(path)


def test_every_name_has_exactly_one_treatment() -> None:
    assert all(IGNORED_NAMES.fullmatch(".".join(one)) for one in ALLOWED)
    assert all(MAPPING_CLASSES.fullmatch(".".join(one)) for one in MAPPED)
    assert {
        "torch._utils._rebuild_parameter_with_state",
        "torch._tensor._rebuild_from_type_v2",
    } == set(REBUILD_FUNCTIONS)


def test_a_tensor_of_a_subclass_cannot_name_what_is_called(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "made"
    rebuild = Name("torch._tensor", "_rebuild_from_type_v2")
    written(
        path,
        evil=Call(rebuild, Name("__main__", "touch"), Name("__main__", "Kind"), (str(mark),), {}),
    )
    with pytest.raises(CheckpointError, match="found 'a tensor of a class of its own' in"):
        read_weights(path)

    assert not mark.exists()
