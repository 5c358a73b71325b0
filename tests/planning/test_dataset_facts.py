"""A plan says what is known of its targets' data before they are read."""

from __future__ import annotations

from pathlib import Path

from advtransfer.host import Host
from advtransfer.planning import Plan, make_plan
from advtransfer.suite import load

SUITE = """\
version: 1
datasets: {d: {use: vision/digits}}
sources: {s: {use: vision/trained, data: d, network: small_cnn, epochs: 1}}
targets: {all: {data: d, n: 20}, few: {data: {use: vision/digits, classes: [1, 2, 3]}, n: 20}}
transfers: {probe: {use: finetune/linear_probe, C: 1}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""


def test_classes_size_and_images_of_each_target_stand_in_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(SUITE)
    host = Host.discover()

    plan = make_plan(load(str(path), host), host)

    few, whole = plan.datasets["few"], plan.datasets["all"]
    assert (whole["use"], whole["classes"], whole["shape"]) == ("vision/digits", 10, [1, 8, 8])
    # scikit-learn's digits are 1,797 images.
    assert int(str(whole["train"])) + int(str(whole["test"])) == 1797
    assert few["classes"] == 3
    assert Plan.from_json(plan.to_json()).datasets == plan.datasets
