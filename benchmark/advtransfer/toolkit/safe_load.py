"""Reads files of weights without running code that such a file can carry.

A torch file is a pickle, and a pickle may name any function to be called. So torch's ``weights_only`` reader comes
first. Where it refuses, the file is read once more with the names that robust models are known to carry beside their
weights (optimisers, NumPy numbers, dill's functions) standing for nothing; any other name refuses the file.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from advtransfer.errors import AdvTransferError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"

BALLAST = re.compile(
    r"torch\.optim\..+|argparse\.Namespace|cox\..+|collections\.(defaultdict|Counter)|_codecs\.encode"
    r"|(__builtin__|builtins)\.(dict|list|tuple|set|frozenset|int|float|complex|bytearray|slice|range|object)"
    r"|numpy\.(dtype|ndarray|_?core\.multiarray\.(scalar|_reconstruct))"
    r"|dill\._?dill\._(create_\w+|load_type|import_module|get_attr)|__main__\.__dict__"
)
"""What a file may carry beside its weights; it is read as nothing."""

WEIGHTS = re.compile(
    r"collections\.OrderedDict|torch\.(Size|device)|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
)
"""What weights are made of; the types of storages are known to torch's reader, those of numbers to `_Reader`."""


class CheckpointError(AdvTransferError):
    """A file of weights cannot be used; says what was found, what was expected, and the next step."""


class _Nothing(type):
    """The type of `Nothing`: what a class can be asked for while it is read from a pickle."""

    def __call__(cls, *args: object, **kwargs: object) -> type:
        return cls

    def __setitem__(cls, key: object, value: object) -> None:
        """Forget an item."""


class Nothing(metaclass=_Nothing):
    """Stands for everything that is not weights: called, filled or given a state, it stays what it is.

    It is a class, since a pickle may ask for instances of a class that it has made itself.
    """

    def __new__(cls, *args: object, **kwargs: object) -> type:  # type: ignore[misc]  # the "instance" is the class
        return cls

    @classmethod
    def _forget(cls, *args: object) -> None: ...

    __setstate__ = append = extend = add = _forget


class _Refused(Exception):
    """The name of a class or function that is neither weights nor known ballast."""


class _Reader(pickle.Unpickler):
    """Unpickles weights, and nothing in place of ballast."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # Any: pickle's own signature
        """The object behind a name in the pickle."""
        full = f"{module}.{name}"
        if WEIGHTS.fullmatch(full) or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        if BALLAST.fullmatch(full):
            return Nothing
        raise _Refused(full)


class _PickleModule:
    """What `torch.load` asks of the module that it unpickles with."""

    __name__ = "advtransfer.toolkit.safe_load"
    Unpickler = _Reader

    @staticmethod
    def load(file: IO[bytes], *, encoding: str) -> object:
        """Read one pickle."""
        return _Reader(file, encoding=encoding).load()


def read(path: Path) -> object:
    """What a safetensors or torch file holds, on the CPU; torch's zip and older formats alike.

    Raises:
        CheckpointError: The file is damaged, of another format, or would run code to be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return _guarded(path, _safetensors)
    if head.startswith((ZIP, PICKLE)):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # of any kind, since a damaged pickle can fail in any way; the second reading says which
            return _guarded(path, _without_ballast)
    message = f"found {path}, which begins with {head[:8]!r}; expected a safetensors or torch file"
    raise CheckpointError(f"{message}; save the weights with safetensors.torch.save_file or torch.save")


def state_dict(content: object, *, path: Path, keys: tuple[str, ...] = ("state_dict", "model")) -> dict[str, Tensor]:
    """The tensors by name in what a file holds, or in the first of `keys` that it has.

    Raises:
        CheckpointError: There are none there, or something else is among them.
    """
    inner = content
    if isinstance(content, Mapping):
        inner = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), content)
    named = inner if isinstance(inner, Mapping) else {}
    others = sorted(str(key) for key, value in named.items() if not isinstance(value, Tensor))
    if not named or others:
        found = f"{', '.join(map(repr, others[:5]))} among its weights" if named else f"a {_kind(inner)}"
        expected = f"a mapping of names to tensors, at the top or in one of {', '.join(map(repr, keys))}"
        raise CheckpointError(f"found {found} in {path}; expected {expected}; save the model's state_dict() alone")
    return dict(cast("Mapping[str, Tensor]", inner))


def _safetensors(path: Path) -> object:
    from safetensors.torch import load_file

    return load_file(path)


def _without_ballast(path: Path) -> object:
    content = path.read_bytes()
    # torch.load hands TorchScript, which has a record of this name, to a reader that runs programs
    if b"constants.pkl" in content:
        raise _Refused("TorchScript")
    # from memory, since torch.load tries a file on disk as a tar archive first
    return torch.load(io.BytesIO(content), "cpu", _PickleModule, weights_only=False)


def _guarded(path: Path, reader: Callable[[Path], object]) -> object:
    """What `reader` gives; whatever goes wrong in it is told in one paragraph."""
    try:
        return reader(path)
    except _Refused as error:
        found = f"{error.args[0]!r} in {path}, which would be imported, and perhaps run, to read the file"
        expected = "weights and what robust models are known to carry beside them"
        next_step = "nothing of it was run; if you trust the file, save its state dict alone with safetensors"
        raise CheckpointError(f"found {found}; expected {expected}; {next_step}") from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        found = f"a damaged or truncated file {path} ({type(error).__name__}: {reason})"
        raise CheckpointError(f"found {found}; expected a whole one; get it again and compare its sha256") from error


def _kind(value: object) -> str:
    return type(value).__name__ if value is not Nothing else "thing that is no tensor"
