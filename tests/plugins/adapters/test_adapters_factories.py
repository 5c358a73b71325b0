from __future__ import annotations

import subprocess
import sys
from typing import cast

import pytest
import torch

from advtransfer.host import Host, Plugin
from advtransfer.types import Adapter, Json

NAMES = [
    "auto",
    "centre_crop",
    "chain",
    "channel_mean",
    "channel_repeat",
    "identity",
    "pad",
    "random_pad",
    "resize",
    "transposed_convolution",
]


@pytest.fixture
def host() -> Host:
    return Host([Plugin("adapters", "advtransfer_adapters", "advtransfer", "0")])


def test_the_plugin_imports_no_heavy_library() -> None:
    code = (
        "import sys, advtransfer_adapters; print(*{'torch', 'numpy', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_plugin_registers_adapters_and_a_transfer(host: Host) -> None:
    assert [f"adapters/{name}" for name in NAMES] == [
        component.name for component in host.components("adapter")
    ]
    assert ["adapters/affine"] == [component.name for component in host.components("transfer")]


def test_the_parts_of_a_chain_are_entries(host: Host) -> None:
    parts = host.component("adapters/chain").options.fields["parts"]

    assert ("adapter", True, True) == (parts.kind, parts.many, parts.required)


def test_a_chain_is_built_from_its_parts(host: Host) -> None:
    parts = tuple(
        host.component(f"adapters/{name}").build({}, {}) for name in ("channel_mean", "centre_crop")
    )
    adapter = cast(Adapter, host.component("adapters/chain").build({}, {"parts": parts}))

    assert (5, 1, 2, 2) == tuple(
        adapter.module(target=(3, 4, 4), source=(1, 2, 2))(torch.rand(5, 3, 4, 4)).shape
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resize", {"grid": "align"}),
        ("pad", {"value": "black"}),
        ("transposed_convolution", {"kernel": 0}),
        ("affine", {"labels": "old"}),
        ("affine", {"labels": []}),
        ("affine", {"labels": [0, -1]}),
        ("affine", {"form": {"kind": "low_rank", "rank": 0}}),
        ("affine", {"form": {"kind": "spatial", "bound": 0.0}}),
        ("affine", {"form": {"kind": "full", "rank": 3}}),
        ("affine", {"form": {"kind": "sparse"}}),
    ],
)
def test_invalid_options_are_rejected(host: Host, name: str, options: dict[str, Json]) -> None:
    _, faults = host.component(f"adapters/{name}").options.validate(options)

    assert {*options} == {fault.path[0] for fault in faults}


@pytest.mark.parametrize(
    "form",
    [
        {"rank": 2},
        {"kind": "full"},
        {"kind": "per_channel", "mixing": False},
        {"kind": "spatial", "bound": 0.5},
    ],
)
def test_every_form_can_be_given_as_a_mapping(host: Host, form: Json) -> None:
    values, faults = host.component("adapters/affine").options.validate(
        {"form": form, "labels": [2, 0]}
    )

    assert [] == faults
    assert host.component("adapters/affine").build(values, {})


def test_the_preset_of_a_paper_is_valid(host: Host) -> None:
    affine = host.component("adapters/affine")
    values, faults = affine.options.validate(affine.metadata.presets["elsayed2019"])

    assert [] == faults
    assert affine.build(values, {})
