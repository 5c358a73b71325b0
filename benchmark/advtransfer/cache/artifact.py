"""Artifacts: tensors and facts under one id, in files whose bytes depend only on the content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from advtransfer.errors import CacheError
from advtransfer.files import file_sha256, sync_folder
from advtransfer.types import Json, Tensors

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Convert an error of writing in the context into a CacheError with a next step."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CacheError(
            f"could not write {str(path)!r}: {error}; expected room and permission there; "
            "remove what is not used, or point ADVTRANSFER_CACHE to another disk"
        ) from error


ARTIFACT_FORMAT = 1
DATA_FILE = "data.safetensors"
META_FILE = "meta.json"
SHA256_BYTES = 32


@dataclass(frozen=True)
class Artifact:
    """The result of one build: facts, and tensors, which are read on first access.

    `digest` is the sha256 of ``data.safetensors``, checked when the artifact was returned.
    """

    id: str
    environment_key: str
    path: Path
    digest: str
    bytes: int
    kind: str
    use: str
    facts: Mapping[str, Json]

    @cached_property
    def tensors(self) -> Tensors:
        """The tensors by name, on the CPU.

        Raises:
            CacheError: The artifact was evicted or removed since it was returned.
        """
        from safetensors.torch import load_file

        try:
            return load_file(self.path / DATA_FILE)
        except FileNotFoundError as error:
            raise CacheError(
                f"found no artifact {self.id!r} in the cache any more; expected it to stay while it is read; "
                "run again, or give the cache more room"
            ) from error


@dataclass(frozen=True, slots=True)
class CorruptEntry:
    """The reason why an entry of the cache is corrupt."""

    reason: str


def write_folder(
    folder: Path,
    *,
    id: str,
    environment_key: str,
    tensors: Tensors,
    facts: Mapping[str, Json],
    kind: str,
    use: str,
) -> None:
    """Write an artifact's two files into an empty folder, and wait until they are on the disk."""
    from safetensors.torch import save_file

    data = folder / DATA_FILE
    meta = folder / META_FILE
    # Without metadata: safetensors writes two or more metadata keys in an order that changes.
    save_file(_separate_tensors(tensors), data)
    description = {
        "format": ARTIFACT_FORMAT,
        "id": id,
        "line": environment_key,
        "kind": kind,
        "use": use,
        "facts": facts,
        "sha256": file_sha256(data),
        "bytes": data.stat().st_size,
    }
    text = json.dumps(description, sort_keys=True, allow_nan=False, ensure_ascii=False)
    meta.write_text(text + "\n", encoding="utf-8")
    # Safetensors creates files that only the owner can read, whatever the umask is.
    data.chmod(meta.stat().st_mode)
    for path in (data, meta):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def read_folder(folder: Path, *, id: str, environment_key: str) -> Artifact | CorruptEntry | None:
    """Return the artifact in a folder with its content verified, its fault, or None for no folder."""
    existed = folder.exists()
    try:
        description = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        digest = file_sha256(folder / DATA_FILE)
    except FileNotFoundError as error:
        # Another process may have put the folder in place, or have evicted it, in the meantime.
        is_there = existed and folder.exists()
        return CorruptEntry(f"{Path(error.filename).name} is missing") if is_there else None
    except PermissionError:  # It belongs to another user, who does not share it.
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        return CorruptEntry(f"{Path(error.filename).name}: {error.strerror}")
    except ValueError as error:
        return CorruptEntry(f"{META_FILE} is not JSON: {error}")
    expected = {
        "format": ARTIFACT_FORMAT,
        "id": id,
        "line": environment_key,
        "sha256": digest,
    }
    found = {key: description.get(key) for key in expected} if isinstance(description, dict) else {}
    if found != expected:
        return CorruptEntry(f"found {found}; expected {expected}")
    if missing := [key for key in ("bytes", "kind", "use", "facts") if key not in description]:
        return CorruptEntry(f"{META_FILE} does not say {', '.join(missing)}")
    return Artifact(
        id,
        environment_key,
        folder,
        digest,
        description["bytes"],
        description["kind"],
        description["use"],
        description["facts"],
    )


def pack_checkpoint(tensors: Tensors) -> tuple[bytes, bytes]:
    """Return the two chunks of a checkpoint file: the sha256 of a safetensors payload, and the payload."""
    from safetensors.torch import save

    payload = save(_separate_tensors(tensors))
    return hashlib.sha256(payload).digest(), payload


def unpack_checkpoint(content: bytes) -> Tensors | CorruptEntry:
    """Return the tensors of a checkpoint file, or its fault."""
    from safetensors.torch import load

    return checkpoint_fault(content) or load(content[SHA256_BYTES:])


def checkpoint_fault(content: bytes) -> CorruptEntry | None:
    """Return the fault of a checkpoint file, or None; does not import torch."""
    if hashlib.sha256(content[SHA256_BYTES:]).digest() == content[:SHA256_BYTES]:
        return None
    return CorruptEntry("the checkpoint does not match its sha256")


def _separate_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """Return contiguous CPU tensors that share no memory: safetensors refuses tensors that do."""
    separate: dict[str, Tensor] = {}
    seen_storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if storage in seen_storages else tensor
        seen_storages.add(storage)
    return separate
