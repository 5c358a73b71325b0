"""Weight files in the Hugging Face hub. Does not import torch or the hub's library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from advtransfer.errors import AdvTransferError


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file in a repository of the hub, at one commit, so that its content cannot change.

    Args:
        repo: The repository, such as ``madrylab/robust-imagenet-models``.
        file: Path of the file in the repository.
        revision: The commit: 40 hexadecimal digits.
        sha256: The sha256 of the file, compared after the download; None for no check.
    """

    repo: str
    file: str
    revision: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ValueError(f"repo: a repository, written owner/name, not {self.repo!r}")
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(
                f"revision: a commit of 40 hexadecimal digits (a branch moves), not {self.revision!r}"
            )
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256: 64 hexadecimal digits, not {self.sha256!r}")

    def __str__(self) -> str:
        return f"{self.file} of {self.repo} at {self.revision[:12]}"


def fetch_file(wanted: HubFile, download: Callable[..., str]) -> Path:
    """Return the path of a file in the hub's cache, downloading it if necessary.

    Args:
        wanted: The file.
        download: ``huggingface_hub.hf_hub_download``.

    Raises:
        AdvTransferError: The file is neither in the cache nor can it be downloaded, or it has another sha256.
    """
    try:
        path = Path(download(repo_id=wanted.repo, filename=wanted.file, revision=wanted.revision))
    except Exception as error:  # the hub's and the network's errors have no common class
        reason = (str(error).splitlines() or [""])[0]
        expected = "a file that is in the hub's cache or can be downloaded"
        next_step = (
            f"check its names, or fetch it elsewhere with `hf download {wanted.repo} {wanted.file}`"
        )
        found = f"no {wanted} ({type(error).__name__}: {reason})"
        raise AdvTransferError(f"found {found}; expected {expected}; {next_step}") from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if wanted.sha256 not in (None, sha256):
        raise AdvTransferError(
            f"found {wanted} with sha256 {sha256}; expected {wanted.sha256}; "
            f"correct `sha256`, or remove the file {path} to download it again"
        )
    return path
