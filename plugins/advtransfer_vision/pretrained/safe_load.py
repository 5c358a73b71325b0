"""Read files of weights without running code that a file may carry.

A torch file is a pickle, and a pickle may call any function by its name. Therefore torch's ``weights_only`` reader is
tried first. If it refuses the file, the file is read again, and the classes and functions that checkpoints of robust
models often contain beside their weights (optimizers, NumPy numbers, dill's functions) are replaced by a placeholder.
A file with any other name is refused.
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
"""Names that a file may contain beside its weights. They are read as a `Placeholder` and not imported."""

MAPPING_CLASSES = re.compile(
    r"__main__\.(?!__).+|collections\.defaultdict|.+\.\w*(Dict|CfgNode|Munch)"
)
"""Classes that may hold weights by name: a subclass of OrderedDict, or a class of the script that wrote the file. They
are read as a `PlainMapping` and not imported."""

WEIGHT_NAMES = re.compile(
    r"collections\.OrderedDict|torch\.(Size|device)|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
)
"""Names that weights consist of. torch's reader handles the types of storages itself, and `_WeightsUnpickler` the
dtypes."""


class CheckpointError(AdvTransferError):
    """An error about a file of weights that cannot be used, with what was found and expected and the next step."""


class _PlaceholderType(type):
    """The metaclass of `Placeholder`, which accepts every operation of a pickle on a class."""

    def __call__(cls, *args: object, **kwargs: object) -> type:
        return cls

    def __setitem__(cls, key: object, value: object) -> None:
        """Ignore an item."""


class Placeholder(metaclass=_PlaceholderType):
    """Replacement for every object that is not weights; calls, items and states leave it unchanged.

    It is a class rather than an instance, since a pickle may make a class and then ask for an instance of it.
    """

    def __new__(cls, *args: object, **kwargs: object) -> type:  # type: ignore[misc]  # the "instance" is the class
        return cls

    # A pickle calls these to restore the state, the items or the elements of an object.
    @classmethod
    def _forget(cls, *args: object) -> None: ...

    __setstate__ = append = extend = add = _forget


class PlainMapping(dict[object, object]):
    """Replacement for a mapping of a class that is not imported; keeps its items and ignores everything else."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Return an empty mapping."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]  # a pickle may use it as a key

    def _forget(self, *args: object) -> None: ...

    __setstate__ = append = extend = add = _forget


def _plain_parameter(data: Tensor, *rest: object) -> Tensor:
    """Return the data of a parameter, without attributes that were set on it."""
    return data


def _plain_tensor(
    rebuild: Callable[..., Tensor], kind: object, args: tuple[object, ...], state: object
) -> Tensor:
    """Return a tensor of a subclass as a plain tensor.

    Raises:
        _RefusedName: `rebuild`, which the file chooses, is not one of torch's functions for plain tensors.
    """
    allowed = (
        torch._utils._rebuild_tensor,
        torch._utils._rebuild_tensor_v2,
        _plain_parameter,
    )
    if rebuild not in allowed:
        raise _RefusedName("a tensor of a class of its own")
    return rebuild(*args)


REBUILD_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "torch._utils._rebuild_parameter_with_state": _plain_parameter,
    "torch._tensor._rebuild_from_type_v2": _plain_tensor,
}


class _RefusedName(Exception):
    """The name of a class or function that is neither part of weights nor known to be harmless."""


class _ForeignArchive(Exception):
    """The names of the entries of an archive that torch did not write."""


class _WeightsUnpickler(pickle.Unpickler):
    """An unpickler of weights that replaces everything else by placeholders."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # Any: pickle's own signature
        """Return the object for a name in the pickle.

        Raises:
            _RefusedName: The name is not on any of the lists of this module.
        """
        full_name = f"{module}.{name}"
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or WEIGHT_NAMES.fullmatch(full_name):
            return super().find_class(module, name)
        if full_name in REBUILD_FUNCTIONS:
            return REBUILD_FUNCTIONS[full_name]
        # Tried before the ignored names: some mappings lie in packages that are ignored otherwise.
        if MAPPING_CLASSES.fullmatch(full_name):
            return PlainMapping
        if IGNORED_NAMES.fullmatch(full_name):
            return Placeholder
        raise _RefusedName(full_name)


class _PickleModule:
    """The interface of the module ``pickle`` that `torch.load` uses."""

    __name__ = "advtransfer_vision.pretrained.safe_load"
    Unpickler = _WeightsUnpickler

    @staticmethod
    def load(file: IO[bytes], *, encoding: str) -> object:
        """Read one pickle from a file."""
        return _WeightsUnpickler(file, encoding=encoding).load()


def read_weights(path: Path) -> object:
    """Return the content of a safetensors or torch file, on the CPU; of torch's zip and older formats.

    Raises:
        CheckpointError: The file is damaged, of another format, or would run code to be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file begins with the length of its header in 8 bytes; the header is JSON.
    if head[8:9] == b"{":
        return _read_guarded(path, _read_safetensors)
    if head.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
        _read_guarded(path, _expect_intact)
        # torch 2.4 runs a TorchScript program in spite of `weights_only`; the second reading refuses it.
        if _is_torchscript(path):
            return _read_guarded(path, _read_ignoring_names)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about formats that the second reading reports
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            # A damaged pickle can fail with any error; the second reading tells damage from names.
            return _read_guarded(path, _read_ignoring_names)
    message = f"found {path}, which begins with {head[:8]!r}; expected a safetensors or torch file"
    raise CheckpointError(
        f"{message}; save the weights with safetensors.torch.save_file or torch.save"
    )


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _expect_intact(path: Path) -> None:
    """Compare the checksums of a zip file's entries, which torch does not do.

    In files written with ``torch.serialization.set_crc32_options(False)`` no checksum agrees; they pass.

    Raises:
        zipfile.BadZipFile: Some of the checksums do not agree.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        # torch checks none of them, so a flipped bit would be read as another weight.
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
    """Read a torch file with placeholders in place of everything but weights.

    Raises:
        _RefusedName: The file contains a name that is neither read nor replaced.
        _ForeignArchive: The file is an archive of something else.
    """
    content = path.read_bytes()
    # torch.load passes TorchScript, which has an entry of this name, to a reader that runs programs.
    if b"constants.pkl" in content:
        raise _RefusedName(TORCHSCRIPT)
    if content.startswith(ZIP_MAGIC):
        _expect_torch(content)
    try:
        # From memory, since torch.load first tries to read a file on disk as a tar archive.
        return torch.load(io.BytesIO(content), "cpu", _PickleModule, weights_only=False)
    except _RefusedName as error:
        # The pickle of a whole model names the classes of its layers.
        raise _RefusedName(error.args[0], b"torch.nn.modules." in content) from None


def _expect_torch(content: bytes) -> None:
    """Refuse an intact archive that torch did not write.

    A damaged archive passes, since the error of torch's reader says more about it.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    if not any(name.endswith("data.pkl") for name in names):
        raise _ForeignArchive(names)


def _read_guarded(path: Path, reader: Callable[[Path], object]) -> object:
    """Return the result of `reader`, with any error as a CheckpointError on one line."""
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


def _refusal_message(path: Path, name: str, has_module: bool = False) -> str:
    """Return the message for a file with a refused name: why it is not read, and the next step."""
    if name == TORCHSCRIPT:
        found, save = f"a {name} program in {path}", "torch.jit.load(FILE).state_dict()"
    elif has_module:
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
