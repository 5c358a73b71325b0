"""Artifacts: tensors and facts under one id, as bytes that are the same whenever the content is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.errors import CacheError
from advtransfer.files import sha256_of, sync_folder
from advtransfer.types import Json, Tensors

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
DATA, META = "data.safetensors", "meta.json"


@dataclass(frozen=True)
class Artifact:
    """One thing that was built: its facts, and its tensors, which are read when they are first asked for.

    `digest` is the sha256 of ``data.safetensors``, checked when the artifact was handed out.
    """

    id: str
    line: str
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
            return load_file(self.path / DATA)
        except FileNotFoundError as error:
            raise CacheError(
                f"found no artifact {self.id!r} in the cache any more; expected it to stay while it is read; "
                "run again, or give the cache more room"
            ) from error


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Why an artifact cannot be believed."""

    reason: str


def write(
    folder: Path, *, id: str, line: str, tensors: Tensors, facts: Mapping[str, Json], kind: str, use: str
) -> None:
    """Write an artifact's two files into an empty folder, and wait until they are on the disk.

    No safetensors metadata is written: with two or more keys its bytes are not reproducible.
    """
    from safetensors.torch import save_file

    data, meta = folder / DATA, folder / META
    save_file(_separate(tensors), data)
    said = {"format": FORMAT, "id": id, "line": line, "kind": kind, "use": use, "facts": facts}
    said |= {"sha256": sha256_of(data), "bytes": data.stat().st_size}
    meta.write_text(json.dumps(said, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    data.chmod(meta.stat().st_mode)  # safetensors writes for the owner alone, whatever the umask says
    for path in (data, meta):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def read(folder: Path, *, id: str, line: str) -> Artifact | Corrupt | None:
    """The artifact in a folder, its content hashed; what is wrong with it; or None when there is no such folder."""
    try:
        said = json.loads((folder / META).read_text(encoding="utf-8"))
        digest = sha256_of(folder / DATA)
    except FileNotFoundError as error:
        return Corrupt(f"{Path(error.filename).name} is missing") if folder.exists() else None
    except PermissionError:  # another user's, who did not mean to share it
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        return Corrupt(f"{Path(error.filename).name}: {error.strerror}")
    except ValueError as error:
        return Corrupt(f"{META} is not JSON: {error}")
    asked = {"format": FORMAT, "id": id, "line": line, "sha256": digest}
    found = {key: said.get(key) for key in asked} if isinstance(said, dict) else {}
    if found != asked:
        return Corrupt(f"found {found}; expected {asked}")
    if missing := [key for key in ("bytes", "kind", "use", "facts") if key not in said]:
        return Corrupt(f"{META} does not say {', '.join(missing)}")
    return Artifact(id, line, folder, digest, said["bytes"], said["kind"], said["use"], said["facts"])


def pack(tensors: Tensors) -> tuple[bytes, bytes]:
    """Tensors as one safetensors payload behind its sha256: the two chunks of a checkpoint file."""
    from safetensors.torch import save

    payload = save(_separate(tensors))
    return hashlib.sha256(payload).digest(), payload


def unpack(content: bytes) -> Tensors | Corrupt:
    """The inverse of `pack`."""
    from safetensors.torch import load

    fault = unpackable(content)
    return fault or load(content[32:])


def unpackable(content: bytes) -> Corrupt | None:
    """What is wrong with a checkpoint file; needs no torch."""
    intact = hashlib.sha256(content[32:]).digest() == content[:32]
    return None if intact else Corrupt("the checkpoint does not match its sha256")


def _separate(tensors: Tensors) -> dict[str, Tensor]:
    """Contiguous CPU tensors, each with memory of its own, as safetensors asks."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart
