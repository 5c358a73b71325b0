"""Reads files of weights without running code that such a file can carry.

A torch file is a pickle, and a pickle may name any function to be called. Torch's ``weights_only`` reader therefore
comes first. Where it refuses, the file is read once more, and names that robust models are known to carry beside their
weights (optimizers, NumPy numbers, dill's functions) are replaced by a placeholder; any other name refuses the file.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

import torch
from torch import Tensor

from advtransfer.errors import AdvTransferError

ZIP_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
TORCHSCRIPT = "TorchScript"
READ_CHUNK_BYTES = 2**20

IGNORED_NAMES = re.compile(
    r"torch\.(optim|amp|cuda\.amp|distributions|utils\.data|nn\.functional|nn\.init)\..+"
    r"|torch\.nn\.(parameter|modules\.(loss|activation))\..+|torch\.torch_version\.TorchVersion"
    r"|(argparse|pathlib|datetime|typing|decimal|fractions|functools|enum|uuid|random|types)\..+"
    r"|collections\.(Counter|deque|namedtuple)|_codecs\.encode|copyreg\._reconstructor|copy_reg\._reconstructor"
    r"|(__builtin__|builtins)\.(__main__|dict|list|tuple|set|frozenset|int|long|float|complex|bool|str|unicode|bytes"
    r"|bytearray|slice|range|xrange|object|type)"
    r"|numpy\..+"
    r"|(cox|omegaconf|yacs|easydict|ml_collections|munch|addict|hydra|absl|pandas|apex|timm|dill)\..+"
    r"|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|torchmetrics|torchvision\.transforms)\..+"
    r"|dill\._?dill\._(create_\w+|load_type|import_module|get_attr)|__main__\.__dict__"
)
"""What a file may carry beside its weights; it is read as nothing, and nothing of it is imported."""

MAPPING_CLASSES = re.compile(
    r"__main__\.(?!__).+|collections\.defaultdict|.+\.\w*(Dict|CfgNode|Munch)"
)
"""Classes that may hold weights by name: a subclass of OrderedDict, or a class of the script that wrote the file. They
are read as plain mappings, and nothing of them is imported."""

WEIGHT_NAMES = re.compile(
    r"collections\.OrderedDict|torch\.(Size|device)|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
)
"""What weights are made of; the types of storages are known to torch's reader, those of numbers to `_WeightsUnpickler`."""


class CheckpointError(AdvTransferError):
    """A file of weights cannot be used; says what was found, what was expected, and the next step."""


class _PlaceholderType(type):
    """The type of `Placeholder`: what a class can be asked for while it is read from a pickle."""

    def __call__(cls, *args: object, **kwargs: object) -> type:
        return cls

    def __setitem__(cls, key: object, value: object) -> None:
        """Forget an item."""


class Placeholder(metaclass=_PlaceholderType):
    """Stands for everything that is not weights: called, filled or given a state, it stays what it is.

    It is a class, since a pickle may ask for instances of a class that it has made itself.
    """

    def __new__(cls, *args: object, **kwargs: object) -> type:  # type: ignore[misc]  # the "instance" is the class
        return cls

    @classmethod
    def _forget(cls, *args: object) -> None: ...

    __setstate__ = append = extend = add = _forget


class PlainMapping(dict[object, object]):
    """Stands for a mapping of a class that is not imported: what is put into it is kept, whatever it is made with."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """An empty one."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]  # a pickle may use it as a key

    def _forget(self, *args: object) -> None: ...

    __setstate__ = append = extend = add = _forget


def _plain_parameter(data: Tensor, *rest: object) -> Tensor:
    """A parameter without the attributes that were set on it."""
    return data


def _plain_tensor(
    rebuild: Callable[..., Tensor], kind: object, args: tuple[object, ...], state: object
) -> Tensor:
    """A tensor of a subclass, as a plain one; `rebuild` is one of those that this module lets through."""
    if rebuild not in (
        torch._utils._rebuild_tensor,
        torch._utils._rebuild_tensor_v2,
        _plain_parameter,
    ):
        raise _RefusedName("a tensor of a class of its own")
    return rebuild(*args)


REBUILD_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "torch._utils._rebuild_parameter_with_state": _plain_parameter,
    "torch._tensor._rebuild_from_type_v2": _plain_tensor,
}


class _RefusedName(Exception):
    """The name of a class or function that is neither weights nor known ballast."""


class _ForeignArchive(Exception):
    """The names in an archive that torch did not write."""


class _WeightsUnpickler(pickle.Unpickler):
    """Unpickles weights, and nothing in place of ballast."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # Any: pickle's own signature
        """The object behind a name in the pickle."""
        full = f"{module}.{name}"
        if WEIGHT_NAMES.fullmatch(full) or (
            module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        ):
            return super().find_class(module, name)
        if full in REBUILD_FUNCTIONS:
            return REBUILD_FUNCTIONS[full]
        if IGNORED_NAMES.fullmatch(full) and not MAPPING_CLASSES.fullmatch(full):
            return Placeholder
        if MAPPING_CLASSES.fullmatch(full):
            return PlainMapping
        raise _RefusedName(full)


class _PickleModule:
    """What `torch.load` asks of the module that it unpickles with."""

    __name__ = "advtransfer_vision.pretrained.safe_load"
    Unpickler = _WeightsUnpickler

    @staticmethod
    def load(file: IO[bytes], *, encoding: str) -> object:
        """Read one pickle."""
        return _WeightsUnpickler(file, encoding=encoding).load()


def read_weights(path: Path) -> object:
    """What a safetensors or torch file holds, on the CPU; torch's zip and older formats alike.

    Raises:
        CheckpointError: The file is damaged, of another format, or would run code to be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return _read_guarded(path, _read_safetensors)
    if head.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
        _read_guarded(path, _expect_intact)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of formats that are refused or read below
                return torch.load(path, map_location="cpu", weights_only=True)
        except (
            Exception
        ):  # of any kind, since a damaged pickle can fail in any way; the second reading says which
            return _read_guarded(path, _read_ignoring_names)
    message = f"found {path}, which begins with {head[:8]!r}; expected a safetensors or torch file"
    raise CheckpointError(
        f"{message}; save the weights with safetensors.torch.save_file or torch.save"
    )


def _expect_intact(path: Path) -> None:
    """Hold the entries of a whole zip file to their checksums, which torch does not look at.

    Files written with ``torch.serialization.set_crc32_options(False)`` have none that agrees, and pass.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = [name for name in archive.namelist() if not _is_intact(archive, name)]
        if damaged and len(damaged) < len(archive.namelist()):
            raise zipfile.BadZipFile(f"bad checksum of {damaged[0]}")


def _is_intact(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as entry:
            while entry.read(READ_CHUNK_BYTES):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _read_safetensors(path: Path) -> object:
    from safetensors.torch import load_file

    return load_file(path)


def _read_ignoring_names(path: Path) -> object:
    content = path.read_bytes()
    # torch.load hands TorchScript, which has a record of this name, to a reader that runs programs
    if b"constants.pkl" in content:
        raise _RefusedName(TORCHSCRIPT)
    if content.startswith(ZIP_MAGIC):
        _expect_torch(content)
    try:
        # from memory, since torch.load tries a file on disk as a tar archive first
        return torch.load(io.BytesIO(content), "cpu", _PickleModule, weights_only=False)
    except _RefusedName as error:
        # the state of a module names the classes of its layers
        raise _RefusedName(error.args[0], b"torch.nn.modules." in content) from None


def _expect_torch(content: bytes) -> None:
    """Refuse a whole archive that torch did not write; of a damaged one, torch's reader says more."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    if not any(name.endswith("data.pkl") for name in names):
        raise _ForeignArchive(names)


def _read_guarded(path: Path, reader: Callable[[Path], object]) -> object:
    """What `reader` gives; whatever goes wrong in it is told in one paragraph."""
    try:
        return reader(path)
    except _RefusedName as error:
        raise CheckpointError(_refusal_message(path, *error.args)) from None
    except _ForeignArchive as error:
        found = f"{path}, an archive of {', '.join(map(repr, error.args[0][:3])) or 'nothing'}"
        message = f"found {found}; expected a safetensors or torch file"
        raise CheckpointError(
            f"{message}; save the weights with safetensors.torch.save_file or torch.save"
        ) from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        found = f"a damaged or truncated file {path} ({type(error).__name__}: {reason})"
        raise CheckpointError(
            f"found {found}; expected a whole one; get it again and compare its sha256"
        ) from error


def _refusal_message(path: Path, name: str, module: bool = False) -> str:
    """Why a file is not read, and what to do."""
    if name == TORCHSCRIPT:
        found, save = f"a {name} program in {path}", "torch.jit.load(FILE).state_dict()"
    elif module:
        found = (
            f"a whole model in {path}, whose code ({name!r}) would be imported and run to read it"
        )
        save = "its state_dict()"
    else:
        found = f"{name!r} in {path}, which would be imported, and perhaps run, to read the file"
        save = "its state dict alone"
    expected = "weights and what robust models are known to carry beside them"
    next_step = f"nothing of it was run; if you trust the file, save {save} with safetensors"
    return f"found {found}; expected {expected}; {next_step}"
