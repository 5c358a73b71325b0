"""Options of the built-in components that are known to be wrong before anything is trained: told by the plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import make_plan
from advtransfer.result.bounded_reading import iter_json_lines
from advtransfer.suite import load
from advtransfer.suite.metric_settings import matching_metrics
from advtransfer.suite.outlines import Outlines

HOST = Host.discover()
SUITE = """\
datasets:
  d: {use: vision/digits}
  view: {use: vision/digits, VIEW}
  mnist: {use: vision/torchvision, name: MNIST, classes: [0, 1]}
sources:
  s: {use: vision/trained, data: d, SOURCE}
targets:
  t: {data: DATA, TARGET}
transfers:
  tr: {use: TRANSFER}
evaluations:
  e: {use: EVALUATION}
"""
PLAIN = {
    "VIEW": "classes: [5, 6, 7, 8, 9]",
    "SOURCE": "epochs: 1",
    "DATA": "d",
    "TARGET": "n: [20], validation: 0",
    "TRANSFER": "finetune/linear_probe",
    "EVALUATION": "foolbox/clean_accuracy",
}
PGD = "foolbox/pgd, norm: linf, eps: 0.1, steps: 5, step_size: 0.01"


def problems(path: Path, **words: str) -> list[str]:
    """The problems of the suite with some of its words replaced."""
    text = SUITE
    for name, plain in PLAIN.items():
        text = text.replace(name, words.get(name.lower(), plain), 1)
    (path / "s.yaml").write_text(text)
    try:
        make_plan(load(str(path / "s.yaml"), HOST), HOST)
    except BadInput as error:
        return [
            str(one).rpartition("s.yaml:")[2] for one in error.problems if one.location is not None
        ]
    return []


def test_the_plain_suite_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("n: 1258", "found 1258; expected at most the 1,257 images of the train part, or all"),
        ("n: 9", "found 9; expected at least one training image for each of 10 classes"),
        ("n: 20, validation: 0.6", "found 20, of which `validation` leaves 8 to train on"),
        ("n: 20, test: 541", "found 541; expected at most the 540 images of the test part"),
        ("n: 20, reference: {use: vision/trained, data: view}", "expected 10, as the target has"),
        (
            "n: 20, reference: {use: vision/trained, data: {use: vision/digits, size: 12}}",
            "found the reference 't.reference' for inputs (1, 12, 12); expected (1, 8, 8), as the target has",
        ),
    ],
)
def test_a_target_is_held_to_its_data(tmp_path: Path, target: str, problem: str) -> None:
    (found,) = problems(tmp_path, target=target)

    assert problem in found


@pytest.mark.parametrize(
    ("data", "n", "fits"),
    [("view", 500, True), ("view", 700, False), ("mnist", 12665, True), ("mnist", 12666, False)],
)
def test_the_images_of_some_classes_are_counted(
    tmp_path: Path, data: str, n: int, fits: bool
) -> None:
    source = "adversary: null" if data == "view" else "seed: 1"
    transfer = "finetune/scratch, network: {use: vision/random_init, data: " + data + "}"

    assert (
        problems(tmp_path, data=data, target=f"n: {n}", source=source, transfer=transfer) == []
    ) == fits


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ("classes: [5, 10]", "found 10; expected a class from 0 to 9"),
        ("channels: 2", "found 2; expected 1 (their mean) or 3"),
        ("size: 100000", "found 100000; expected the side of a square in pixels, from 1 to 4,096"),
        (
            "test_share: 0.999",
            "found 0.999; expected a share that leaves each of 10 classes an image in both parts",
        ),
    ],
)
def test_a_view_is_held_to_its_data(tmp_path: Path, view: str, problem: str) -> None:
    (found,) = problems(tmp_path, view=view)

    assert problem in found


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("images: 2000", "found 2000; expected at most the 1,257 images of the train part"),
        ("images: 5", "found 5; expected at least one image of each of 10 classes"),
        (
            "validation: 0.999",
            "found 0.999; expected a share that leaves at least one image of each of 10 classes",
        ),
        (
            "adversary: {norm: l2, eps: 9}",
            "found 9; expected eps of at most 8 for l2 on inputs of shape (1, 8, 8)",
        ),
        ("adversary: {eps: 8}", "at most 1 in linf"),
        (
            "adversary: {norm: l2, eps: 1, step_size: 20}",
            "found 20; expected a step of at most 8 for l2",
        ),
        ("augment: [flip, flip]", "found 'flip'; expected each value once in `augment`; remove it"),
        (
            "network: lenet5, width: 4",
            "found 4; expected it beside small_cnn alone; lenet5 takes it",
        ),
        ("optimiser: {lr: 0}", "a number above 0"),
        ("optimiser: {momentum: 1}", "from 0 to below 1"),
        ("checkpoint: best", "found `checkpoint: best`, which needs a validation part"),
        ("averaging: {decay: 1}", "a share above 0 and below 1"),
        ("cutmix: 0", "found 0; expected greater than 0"),
        ("epochs: 0", "found 0; expected greater than or equal to 1"),
    ],
)
def test_a_training_is_held_to_its_data(tmp_path: Path, source: str, problem: str) -> None:
    (found,) = problems(tmp_path, source=source)

    assert problem in found


def test_a_network_is_held_to_the_size_of_its_images(tmp_path: Path) -> None:
    network = "vision/random_init, data: {use: vision/digits, size: 4}"
    found = problems(tmp_path, transfer=f"finetune/scratch, network: {{use: {network}}}")

    assert (
        "found inputs of shape (1, 4, 4) for small_cnn; expected images (C, H, W) of at least 8 x 8"
        in found[0]
    )


@pytest.mark.parametrize(
    ("transfer", "problem"),
    [
        ("finetune/blocks, blocks: 4", "found blocks is 4; the source has 3; expected at most 3"),
        (
            "finetune/blocks, blocks: 1, epochs: 5, snapshots: [6]",
            "found 6; expected an epoch from 1 to 5",
        ),
        (
            "finetune/blocks, blocks: 1, snapshots: [5, 5]",
            "found 5; expected each value once in `snapshots`",
        ),
        (
            "finetune/linear_probe, C: [1, 2]",
            "to choose one of them, write `choose: {by: validation.accuracy",
        ),
        (
            "finetune/linear_probe, C: 1, folds: 5",
            "found the unknown name 'folds' in finetune/linear_probe",
        ),
        (
            "finetune/linear_probe, choose: {by: validation.accuracy, among: {C: [1, 2]}}",
            "found `choose` with `validation: 0` (n = 20); expected labelled images to choose by",
        ),
        (
            "finetune/linear_probe, choose: {by: validation.accuracy, among: {C: [1, 2]}, folds: 30}",
            "found cross-validation over 30 folds of 20 images",
        ),
        (
            "finetune/linear_probe, choose: {by: validation.accuracy, among: {C: [1, 1, 2]}, folds: 2}",
            "found 1; expected each value once in `choose`",
        ),
        (
            "finetune/blocks, blocks: 1, choose: {by: validation.accuracy, "
            "among: {blocks: [1, 4]}, folds: 2}",
            "found blocks is 4; the source has 3; expected at most 3",
        ),
        (
            "finetune/blocks, blocks: 1, choose: {by: validation.robust_accuracy, "
            "among: {optimiser.lr: [0.1, 1]}, folds: 2}",
            "found no `attack` in `choose`; expected an attack for validation.robust_accuracy",
        ),
        (
            "finetune/full, adversary: {eps: 0.1}, choose: {by: validation.robust_accuracy, "
            "among: {adversary.eps: [0.1, 0.2]}, folds: 2}",
            "found no `attack` in `choose`; expected an attack for validation.robust_accuracy",
        ),
        (
            "finetune/full, choose: {by: validation.robust_accuracy, attack: {norm: l2, eps: 9}, "
            "among: {optimiser.lr: [0.1, 1]}, folds: 2}",
            "found 9; expected eps of at most 8 for l2",
        ),
        (
            "finetune/full, checkpoint: best",
            "found `checkpoint: best`, which needs a validation part to choose the epoch by",
        ),
        (
            "finetune/full, checkpoint: best, choose: {by: validation.accuracy, "
            "among: {epochs: [1, 2]}, folds: 2}",
            "found `checkpoint: best`, which needs a validation part to choose the epoch by",
        ),
        (
            "finetune/linear_probe, solver: sgd, C: 2",
            "found 2; expected no `C` beside `solver: sgd`",
        ),
        (
            "finetune/l2_sp, optimiser: {kind: sgd, lr: 0.1}",
            "found a weight_decay of 0.0005 in `optimiser`; expected none beside `alpha` and `beta`",
        ),
        (
            "finetune/lora, epochs: 5, snapshots: [6]",
            "expected an epoch from 1 to 5, the last one",
        ),
        (
            "finetune/full, adversary: {norm: l2, eps: 100}",
            "found 100; expected eps of at most 8 for l2",
        ),
        (
            "finetune/scratch, network: {use: vision/random_init, data: {use: vision/digits, size: 12}}",
            "found a network for inputs (1, 12, 12); expected one for (1, 8, 8)",
        ),
        (
            "finetune/adversarial, network: {use: vision/random_init, data: d}, eps: 8",
            "found 8; expected at most 1 for linf, in [0, 1] pixel space; divide it by 255",
        ),
        (
            "adapters/affine, labels: [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]",
            "found 0; expected each value once in `labels`",
        ),
        (
            "adapters/affine, labels: [0, 1]",
            "labels names 2 outputs of the source, the target has 10",
        ),
        (
            "adapters/affine, labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]",
            "labels reads output 10 of the source",
        ),
        (
            "igam/igam, teacher_attack: {norm: l2, eps: 9}",
            "found 9; expected eps of at most 8 for l2",
        ),
        (
            "igam/igam, compare_gradients: true",
            "expected a target with a validation part, on which it measures; "
            "give the target a `validation` share",
        ),
    ],
)
def test_a_transfer_is_held_to_its_target_and_source(
    tmp_path: Path, transfer: str, problem: str
) -> None:
    (found,) = problems(tmp_path, transfer=transfer)

    assert problem in found


@pytest.mark.parametrize(
    ("evaluation", "problem"),
    [
        (
            PGD.replace("0.1", "8"),
            "found 8; expected eps of at most 1 for linf, in [0, 1] pixel space",
        ),
        (PGD.replace("0.1", "8"), "divide it by 255 if it counts 8-bit levels: 8/255"),
        (PGD.replace("0.1", "[0.1, 8]"), "found 8; expected eps of at most 1 for linf"),
        (
            PGD.replace("linf", "l2").replace("0.1", "9"),
            "found 9; expected eps of at most 8 for l2",
        ),
        (
            PGD.replace("linf", "l1").replace("0.1", "65"),
            "found 65; expected eps of at most 64 for l1",
        ),
        (PGD.replace("0.01", "2"), "found 2; expected a step of at most 1 for linf"),
        (PGD.replace("0.1", "[0.1, 0.1]"), "found 0.1; expected radii that differ in six digits"),
        (f"{PGD}, restarts: 2, random_start: false", "found 2; expected 1 without a random start"),
        (f"{PGD}, targets: 3", "found 3; expected none unless loss is targeted_margin"),
        ("foolbox/fgsm, norm: linf, eps: 8", "found 8; expected eps of at most 1"),
        ("foolbox/noise, norm: l2, eps: 9", "found 9; expected eps of at most 8"),
        ("foolbox/deepfool, norm: l2, eps: 9", "found 9; expected eps of at most 8"),
        (
            "foolbox/ensemble, norm: l1, eps: 1, attacks: [{kind: deepfool}]",
            "found deepfool, which is not defined for l1; expected l2 or linf",
        ),
        (
            "foolbox/ensemble, norm: linf, eps: 0.1, attacks: [{kind: fgsm}, {kind: fgsm}]",
            "expected each attack once",
        ),
        (
            "foolbox/ensemble, norm: linf, eps: 0.1, attacks: []",
            "found []; expected a list of at least 1 item",
        ),
        ("interpret/loss_surface, norm: linf, eps: 8", "found 8; expected eps of at most 1"),
        (
            "interpret/gradient_alignment, rivals: 10",
            "found 10; expected at most 9, the other classes",
        ),
        (
            "interpret/influence, rcond: 0.1, ranks: [1, 1]",
            "found 1; expected each value once in `ranks`",
        ),
        ("alignment/leep, attack: {norm: l2, eps: 9}", "found 9; expected eps of at most 8"),
        ("alignment/leep, attack: {eps: 8}", "found 8; expected eps of at most 1"),
    ],
)
def test_an_evaluation_is_held_to_its_target(tmp_path: Path, evaluation: str, problem: str) -> None:
    (found,) = problems(tmp_path, evaluation=evaluation)

    assert problem in found


@pytest.mark.parametrize(
    "adapter", ["centre_crop", "pad", "channel_repeat", "transposed_convolution"]
)
def test_an_adapter_that_cannot_lead_to_the_source_skips_its_cells(
    tmp_path: Path, adapter: str
) -> None:
    text = f"adapters:\n  a: {{use: adapters/{adapter}}}\n{SUITE}"
    for name, plain in (PLAIN | {"VIEW": "size: 6, channels: 3", "DATA": "view"}).items():
        text = text.replace(name, plain, 1)
    (tmp_path / "s.yaml").write_text(text)
    (trial,) = make_plan(load(str(tmp_path / "s.yaml"), HOST), HOST).trials

    assert trial.skipped is not None
    assert "(3, 6, 6)" in trial.skipped


def test_a_network_has_the_blocks_and_takes_the_images_that_its_outline_says() -> None:
    from typing import get_args

    from advtransfer.types import DataCard
    from advtransfer_vision.networks import NetworkName, SizedNetwork, build_network
    from advtransfer_vision.outlines import BLOCK_COUNTS, SMALLEST_SIDES, network_outline

    outline = Outlines(HOST).outline_of(
        Node("data", "vision/torchvision", options={"name": "CIFAR10"})
    )
    for name in get_args(NetworkName):
        side = max(SMALLEST_SIDES.get(name, 1), 1)
        card = DataCard((3, side, side), (0.0, 1.0), "classes", 10, tuple("0123456789"), "")
        sizes = {"width": 1, "depth": 14} if name == "wide_resnet" else {}
        built = build_network(SizedNetwork(name=name, **sizes), data=card)
        told = network_outline(
            {"data": outline, "network": SizedNetwork(name=name, **sizes)}
        ).blocks

        assert told in (None, len(built.blocks)), name
        assert name in BLOCK_COUNTS or told is not None or name not in SMALLEST_SIDES


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.77])
def test_the_outline_of_the_digits_is_what_they_are(share: float) -> None:
    from advtransfer_vision.data.generated import load_digit_images as digits

    outline = Outlines(HOST).outline_of(
        Node("data", "vision/digits", options={"test_share": share, "split_seed": 0})
    )
    built = digits(test_share=share, split_seed=0)

    assert (outline.train, outline.test) == (len(built.part("train")), len(built.part("test")))
    assert (outline.shape, outline.outputs) == (built.card().shape, built.card().outputs)


def test_published_records_hold_only_metrics_that_their_evaluations_state() -> None:
    """Each set of options once: some thousand records say the same."""
    outlines = Outlines(HOST)
    seen: set[str] = set()
    for path in sorted(
        (Path(__file__).parents[2] / "leaderboard" / "results").glob("*/*/records/result*.jsonl.xz")
    ):
        for _, record in iter_json_lines(path):
            asked = record["asked"]
            key = json.dumps(
                [
                    asked["use"],
                    asked["options"],
                    sorted({**record["metrics"], **record["outcomes"]}),
                ]
            )
            if key not in seen:
                seen.add(key)
                given = outlines.metric_names(
                    Node("result", asked["use"], asked["version"], asked["options"])
                )
                named = [*record["metrics"], *record["outcomes"]]

                assert (
                    given is None
                    or [one for one in named if not matching_metrics(one, given)] == []
                ), asked["use"]
    assert len(seen) > 10
