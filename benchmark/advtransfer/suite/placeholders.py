"""Placeholders of files and folders that are not on this machine, for plans without data."""

from __future__ import annotations

from dataclasses import dataclass

from advtransfer.node import text_sha256
from advtransfer.options import ContentKind


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A file or folder that a suite names and this machine lacks.

    Attributes:
        kind: ``file`` or ``folder``.
        name: Its path as the suite gives it.
        sha256: The digest that stands for its content.
        is_declared: Whether the suite gives this digest, so that ids made from it are final.
    """

    kind: ContentKind
    name: str
    sha256: str
    is_declared: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def make_placeholder(kind: ContentKind, name: str, declared: str | None) -> Placeholder:
    """Return the placeholder of a missing file or folder.

    Without a `declared` sha256 its digest is made from the name: no content has it.
    """
    sha256 = declared or text_sha256(f"placeholder of the {kind} {name}")
    return Placeholder(kind, name, sha256, declared is not None)
