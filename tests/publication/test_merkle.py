"""The tree of RFC 6962 on the vectors of the certificate-transparency project."""

from __future__ import annotations

import hashlib

import pytest

from advtransfer.publication.merkle import leaf_hash, merkle_root, node_hash

# Inputs and roots of the reference implementation's tests (google/certificate-transparency,
# merkletree/merkle_tree_test.cc).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def split_root(leaves: list[bytes]) -> bytes:
    """Return the hash by the RFC's own recursion."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(split_root(leaves[:k]), split_root(leaves[k:]))


@pytest.mark.parametrize("count", range(1, 9))
def test_root_is_that_of_certificate_transparency(count: int) -> None:
    assert ROOTS[count - 1] == merkle_root(LEAVES[:count])


def test_root_without_leaves_is_the_hash_of_nothing() -> None:
    assert hashlib.sha256(b"").hexdigest() == merkle_root([])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 11, 16, 17, 100])
def test_root_is_that_of_the_split_at_the_largest_power_of_two(count: int) -> None:
    leaves = [str(k).encode() for k in range(count)]

    assert split_root(leaves).hex() == merkle_root(leaves)


def test_order_and_content_of_leaves_change_the_root() -> None:
    leaves = [b"a", b"b", b"c"]

    assert 4 == len(
        {
            merkle_root(leaves),
            merkle_root(leaves[::-1]),
            merkle_root([b"a", b"b", b"d"]),
            merkle_root([b"a", b"bc"]),
        }
    )
    assert merkle_root([b"a", b"b"]) != leaf_hash(leaf_hash(b"a") + leaf_hash(b"b")).hex()
