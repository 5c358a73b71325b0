"""Artifacts.

Tensors and facts under one id, in files whose bytes depend on nothing but the content.
"""

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
    """Inside, a system's error becomes a CacheError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CacheError(
            f"could not write {str(path)!r}: {error}; expected room and permission there; "
            "remove what is not used, or point ADVTRANSFER_CACHE to another disk"
        ) from error


ARTIFACT_FORMAT = 1
DATA_FILE, META_FILE = "data.safetensors", "meta.json"


@dataclass(frozen=True)
class Artifact:
    """One thing that was built: its facts, and its tensors, which are read when they are first asked for.

    `digest` is the sha256 of ``data.safetensors``, checked when the artifact was handed out.
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
            CacheError: The artifact was evicted or removed since it was handed out.
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
    """Why an artifact cannot be believed."""

    reason: str


def write_folder(
    folder: Path,
    *,
    id: str,
    line: str,
    tensors: Tensors,
    facts: Mapping[str, Json],
    kind: str,
    use: str,
) -> None:
    """Write an artifact's two files into an empty folder, and wait until they are on the disk.

    No safetensors metadata is written: with two or more keys its bytes are not reproducible.
    """
    from safetensors.torch import save_file

    data, meta = folder / DATA_FILE, folder / META_FILE
    save_file(_separate_tensors(tensors), data)
    said = {
        "format": ARTIFACT_FORMAT,
        "id": id,
        "line": line,
        "kind": kind,
        "use": use,
        "facts": facts,
    }
    said |= {"sha256": file_sha256(data), "bytes": data.stat().st_size}
    meta.write_text(
        json.dumps(said, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    data.chmod(
        meta.stat().st_mode
    )  # safetensors writes for the owner alone, whatever the umask says
    for path in (data, meta):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def read_folder(folder: Path, *, id: str, line: str) -> Artifact | CorruptEntry | None:
    """The artifact in a folder, its content hashed; what is wrong with it; or None when there is no such folder."""
    try:
        said = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        digest = file_sha256(folder / DATA_FILE)
    except FileNotFoundError as error:
        return CorruptEntry(f"{Path(error.filename).name} is missing") if folder.exists() else None
    except PermissionError:  # another user's, who did not mean to share it
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        return CorruptEntry(f"{Path(error.filename).name}: {error.strerror}")
    except ValueError as error:
        return CorruptEntry(f"{META_FILE} is not JSON: {error}")
    asked = {"format": ARTIFACT_FORMAT, "id": id, "line": line, "sha256": digest}
    found = {key: said.get(key) for key in asked} if isinstance(said, dict) else {}
    if found != asked:
        return CorruptEntry(f"found {found}; expected {asked}")
    if missing := [key for key in ("bytes", "kind", "use", "facts") if key not in said]:
        return CorruptEntry(f"{META_FILE} does not say {', '.join(missing)}")
    return Artifact(
        id, line, folder, digest, said["bytes"], said["kind"], said["use"], said["facts"]
    )


def pack_checkpoint(tensors: Tensors) -> tuple[bytes, bytes]:
    """Tensors as one safetensors payload behind its sha256: the two chunks of a checkpoint file."""
    from safetensors.torch import save

    payload = save(_separate_tensors(tensors))
    return hashlib.sha256(payload).digest(), payload


def unpack_checkpoint(content: bytes) -> Tensors | CorruptEntry:
    """The inverse of `pack_checkpoint`."""
    from safetensors.torch import load

    fault = checkpoint_fault(content)
    return fault or load(content[32:])


def checkpoint_fault(content: bytes) -> CorruptEntry | None:
    """What is wrong with a checkpoint file; needs no torch."""
    intact = hashlib.sha256(content[32:]).digest() == content[:32]
    return None if intact else CorruptEntry("the checkpoint does not match its sha256")


def _separate_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """Contiguous CPU tensors, each with memory of its own, as safetensors asks."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart
