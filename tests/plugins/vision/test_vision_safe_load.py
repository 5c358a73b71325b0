from __future__ import annotations

import argparse
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_vision.pretrained.safe_load import CheckpointError, Placeholder, read_weights

WEIGHTS = build_initialized(lambda: nn.Linear(3, 2), stream_generator("safe load")).state_dict()
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])


def optimiser() -> torch.optim.Optimizer:
    """An optimiser after a step, so that it has a state."""
    layer = nn.Linear(3, 2)
    found = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 3)).sum().backward()
    found.step()
    return found


class Reduced:
    """Pickled as a call of `function`, and as an instance of what that gives."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[object, ...]:
        return Made(self.function), (), {"step": 3}


class Made:
    """Pickled as what a call of `function` gives; stands for a class or a function that dill makes."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, ("name", (object,), {"lr": 0.1})

    def __call__(self) -> None:
        """Nothing; a pickle must be told that it can call this."""


@pytest.fixture
def dilled(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[..., object]]:
    """Gives the function of a module that is there while a file is written, and absent when it is read."""

    def function() -> Callable[..., object]:
        made = ModuleType("dill._dill")
        exec("def _create_type(*arguments): raise AssertionError('this was run')", made.__dict__)
        monkeypatch.setitem(sys.modules, "dill", ModuleType("dill"))
        monkeypatch.setitem(sys.modules, "dill._dill", made)
        made._create_type.__module__ = "dill._dill"
        found: Callable[..., object] = made._create_type
        return found

    return function


def same(found: object, expected: dict[str, Tensor]) -> bool:
    return isinstance(found, dict) and all(
        found[name].equal(tensor) for name, tensor in expected.items()
    )


@FORMATS
def test_a_plain_torch_file_is_read(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "plain.pt"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)

    assert same(read_weights(path), WEIGHTS)


def test_a_safetensors_file_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.bin")

    assert same(read_weights(tmp_path / "weights.bin"), WEIGHTS)


@FORMATS
def test_extra_objects_of_robust_checkpoints_are_read_as_placeholders(
    tmp_path: Path,
    zipped: bool,
    dilled: Callable[[], Callable[..., object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "robust.pt"
    ballast = {
        "optimizer": optimiser(),
        "schedule": Reduced(dilled()),
        "args": argparse.Namespace(eps=3.0),
        "nat_prec1": np.float64(57.9),
        "counts": np.arange(3),
    }
    torch.save(
        {"model": WEIGHTS, "epoch": 90, **ballast}, path, _use_new_zipfile_serialization=zipped
    )
    monkeypatch.undo()
    content = read_weights(path)

    assert isinstance(content, dict)
    assert same(content["model"], WEIGHTS)
    assert 90 == content["epoch"]
    assert set(ballast) == {name for name, value in content.items() if value is Placeholder}


class Evil:
    """Pickled as a call that makes a file."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@FORMATS
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda mark: Evil(os.system, f"touch {mark}"), "posix.system"),
        (lambda mark: Evil(eval, f"open({str(mark)!r}, 'w')"), "__builtin__.eval"),
        (lambda mark: Evil(Path.touch, mark), "__builtin__.getattr"),
        (
            lambda mark: Evil(pickle.loads, pickle.dumps(Evil(os.system, f"touch {mark}"))),
            "pickle.loads",
        ),
    ],
    ids=["system", "eval", "a method", "a pickle in the pickle"],
)
def test_a_pickle_that_would_make_a_file_is_refused_by_name(
    tmp_path: Path, zipped: bool, call: Callable[[Path], Evil], name: str
) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "made"
    torch.save(
        {"model": WEIGHTS, "optimizer": call(mark)}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(
        CheckpointError, match=f"found '{name}' in .*evil.pt, .*; nothing of it was run"
    ) as caught:
        read_weights(path)

    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_call_under_an_ignored_name_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mark = tmp_path / "evil.pt", tmp_path / "made"

    def make(at: str) -> None:
        Path(at).touch()

    make.__module__, make.__qualname__ = "torch.optim.sgd", "make"
    monkeypatch.setattr(import_module("torch.optim.sgd"), "make", make, raising=False)
    torch.save({"model": WEIGHTS, "optimizer": Evil(make, str(mark))}, path)
    content = read_weights(path)

    assert isinstance(content, dict)
    assert content["optimizer"] is Placeholder
    assert not mark.exists()


@FORMATS
def test_tensors_of_every_float_type_and_parameters_with_attributes_are_read(
    tmp_path: Path, zipped: bool
) -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.partition_dim = 1  # type: ignore[attr-defined]  # as tensor-parallel code marks it
    types = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    tensors = {"own": parameter, **{str(one): torch.ones(2, dtype=one) for one in types}}
    path = tmp_path / "types.pt"
    torch.save(
        {"model": tensors, "args": argparse.Namespace()},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    content = read_weights(path)

    assert isinstance(content, dict)
    assert same(content["model"], {name: one.detach() for name, one in tensors.items()})


@FORMATS
@pytest.mark.parametrize("inside", [True, False], ids=["in a checkpoint", "alone"])
def test_a_pickled_model_is_refused(tmp_path: Path, zipped: bool, inside: bool) -> None:
    path, model = tmp_path / "whole.pt", nn.Sequential(nn.Linear(3, 2))
    torch.save({"model": model} if inside else model, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"found a whole model in .*whole.pt, .*; nothing of it was run"
    ) as caught:
        read_weights(path)

    assert "save its state_dict() with safetensors" in str(caught.value)


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    torch.save({"model": WEIGHTS, "args": argparse.Namespace()}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("program/constants.pkl", b"")
    with pytest.raises(
        CheckpointError, match=r"found a TorchScript program in .*nothing of it was run"
    ):
        read_weights(path)


def test_a_real_torchscript_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace  # Any: torch does not annotate it
        torch.jit.save(trace(nn.Linear(3, 2), torch.ones(1, 3)), tmp_path / "program.pt")
    with pytest.raises(CheckpointError, match=r"found a TorchScript program in .*torch.jit.load"):
        read_weights(tmp_path / "program.pt")


def test_an_archive_that_torch_did_not_write_is_not_called_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", weight=np.ones(3))
    with pytest.raises(
        CheckpointError,
        match=r"found .*weights.npz, an archive of 'weight.npy'; expected a safetensors",
    ):
        read_weights(tmp_path / "weights.npz")


@FORMATS
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize(
    "ballast", [{}, {"args": argparse.Namespace()}], ids=["plain", "with ballast"]
)
def test_a_truncated_file_is_reported_in_one_paragraph(
    tmp_path: Path, zipped: bool, share: float, ballast: dict[str, object]
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": WEIGHTS, **ballast}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        CheckpointError, match=r"found a damaged or truncated file .*weights\.pt .*; get it again"
    ) as caught:
        read_weights(path)

    assert "\n" not in str(caught.value)


def test_a_truncated_safetensors_file_is_reported_in_one_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="found a damaged or truncated file") as caught:
        read_weights(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.pt"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"which begins with .*; expected a safetensors or torch file"
    ):
        read_weights(path)


def test_a_changed_byte_of_a_torch_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.randn(5000)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"found a damaged or truncated file .*checksum"):
        read_weights(path)


def test_a_torch_file_written_without_checksums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.arange(3.0)}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            content = content.replace(
                entry.CRC.to_bytes(4, "little"), (entry.CRC ^ 1).to_bytes(4, "little")
            )
    path.write_bytes(content)

    assert [0.0, 1.0, 2.0] == cast("dict[str, Any]", read_weights(path))["weight"].tolist()
