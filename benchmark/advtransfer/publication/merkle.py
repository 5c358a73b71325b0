"""The Merkle tree hash of a list of byte strings (RFC 6962, section 2.1), with SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
"""Prefixes that keep a node from being passed off as a leaf, and a leaf as a node."""


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of one leaf (32 bytes)."""
    return hashlib.sha256(LEAF_PREFIX + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two hashes (32 bytes)."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def merkle_root(leaves: Iterable[bytes]) -> str:
    """Return the Merkle tree hash of the leaves in their order, as 64 hexadecimal digits.

    Without leaves it is the hash of the empty string, as the RFC says.
    """
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves]).hex()


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash over leaves that are hashed already."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    # Pairs from the left, an odd last one moves up unchanged: the same tree as the RFC's split at
    # the largest power of two below the count.
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [node_hash(left, right) for left, right in pairs]
        level = [*above, *level[len(level) - len(level) % 2 :]]
    return level[0]
