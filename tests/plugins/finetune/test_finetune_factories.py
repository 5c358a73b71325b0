from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from advtransfer.node import canonical_json
from advtransfer.options import Options
from advtransfer.toolkit.adversary import Apgd, Free, Trades
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Json, Transfer, metadata_of
from advtransfer_finetune import register_transfers
from advtransfer_finetune.components import (
    adversarial,
    bitfit,
    blocks,
    controlled_transferability,
    full,
    l2_sp,
    linear_probe,
    logit_affine,
    lora,
    lp_ft,
    lwf,
    scratch,
    unchanged,
)


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_finetune; print(*{'torch', 'numpy', 'sklearn', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


def test_plugin_registers_transfers_and_baselines() -> None:
    probes: list[Callable[..., Transfer]] = [linear_probe, logit_affine]
    tunings: list[Callable[..., Transfer]] = [blocks, full, lp_ft, l2_sp, lwf, bitfit, lora]
    tunings.append(controlled_transferability)
    of_a_source = probes + tunings
    baselines: list[Callable[..., Transfer]] = [scratch, adversarial]
    of_one_model: list[Callable[..., Transfer]] = [unchanged]

    assert of_a_source + baselines + of_one_model == list(register_transfers())
    assert [{"source"}] * len(of_a_source) == [
        metadata_of(factory).needs for factory in of_a_source
    ]
    assert [set(), set()] == [metadata_of(factory).needs for factory in baselines]


def test_the_reference_is_an_entry_of_the_suite() -> None:
    assert "source" == Options.from_factory(controlled_transferability).fields["reference"].kind


@pytest.mark.parametrize("factory", [scratch, adversarial])
def test_the_network_of_a_baseline_is_an_entry_of_the_suite(
    factory: Callable[..., Transfer],
) -> None:
    assert "source" == Options.from_factory(factory).fields["network"].kind


def test_penalty_strength_is_a_number() -> None:
    values, faults = Options.from_factory(linear_probe).validate({"C": 0.5})

    assert [] == faults
    assert {"C": 0.5, "max_iterations": 10_000, "tolerance": 1e-6, "cached": True} == values


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"C": 0}, ("C",)),
        ({"C": [0.1, 1.0]}, ("C",)),
        ({"max_iterations": 0}, ("max_iterations",)),
        ({"tolerance": 0}, ("tolerance",)),
        ({"solver": "newton"}, ("solver",)),
        ({"solver": "sgd", "snapshots": [5, 0]}, ("snapshots", 1)),
        ({"folds": 5}, ("folds",)),
    ],
)
def test_invalid_probe_is_rejected(options: dict[str, Json], path: tuple[str | int, ...]) -> None:
    _, faults = Options.from_factory(linear_probe).validate(options)

    assert [path] == [fault.path for fault in faults]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"blocks": -1}, ("blocks",)),
        ({"blocks": 1, "epochs": 0}, ("epochs",)),
        ({"blocks": 1, "batch_norm": "train"}, ("batch_norm",)),
        ({"blocks": 1, "optimiser": {"kind": "sgd", "lr": -1}}, ("optimiser",)),
        ({"blocks": 1, "head_init": "zero"}, ("head_init",)),
        ({"blocks": 1, "augment": ["blur"]}, ("augment",)),
        ({"blocks": 1, "adversary": {"eps": 2}}, ("adversary",)),
        ({"blocks": 1, "snapshots": [0]}, ("snapshots",)),
    ],
)
def test_invalid_tuning_is_rejected(options: dict[str, Json], path: tuple[str | int, ...]) -> None:
    _, faults = Options.from_factory(blocks).validate(options)

    assert path in [fault.path[:1] for fault in faults]


def test_tuning_record_has_optimiser_and_schedule() -> None:
    values, faults = Options.from_factory(blocks).validate({"blocks": 1})

    assert [] == faults
    assert {
        "blocks",
        "epochs",
        "batch_size",
        "optimiser",
        "schedule",
        "batch_norm",
        "cached",
    } == set(values)
    assert {"kind": "adam", "lr": 0.003, "weight_decay": 0.0} == values["optimiser"]


@pytest.mark.parametrize(
    ("factory", "asked", "later"),
    [
        (
            linear_probe,
            {},
            {
                "solver": "lbfgs",
                "epochs": 150,
                "batch_size": 128,
                "optimiser": {"kind": "sgd"},
                "schedule": {"kind": "step", "milestones": [1 / 3, 2 / 3]},
                "head_init": "default",
                "snapshots": [],
            },
        ),
        (
            blocks,
            {"blocks": 1},
            {
                "head_init": "default",
                "augment": "none",
                "adversary": None,
                "snapshots": [],
                "activations": "once",
            },
        ),
        (full, {}, {"batch_norm": "adapt"}),
    ],
)
def test_later_options_at_their_defaults_leave_the_id_unchanged(
    factory: Callable[..., Transfer], asked: dict[str, Json], later: dict[str, Json]
) -> None:
    options = Options.from_factory(factory)

    assert options.validate(asked) == options.validate({**asked, **later})
    assert not set(later) & set(options.validate(asked)[0])


@pytest.mark.parametrize("factory", [linear_probe, blocks, full])
@pytest.mark.parametrize(
    ("preset", "epochs", "drops"),
    [("utrera2021", 150, [50, 100]), ("utrera2021_few", 100, [33, 66, 99])],
)
def test_the_presets_of_utrera_are_what_the_authors_ran(
    factory: Callable[..., Transfer], preset: str, epochs: int, drops: list[int]
) -> None:
    asked = {**metadata_of(factory).presets[preset], **({"blocks": 3} if factory is blocks else {})}
    values, faults = Options.from_factory(factory).validate(json.loads(canonical_json(asked)))
    built = Options.from_factory(factory).python_values(values)
    schedule = built["schedule"]
    assert isinstance(schedule, Schedule)
    rates = [schedule.rate_factor(epoch / epochs) for epoch in range(epochs)]

    assert [] == faults
    assert Sgd(lr=0.1, momentum=0.9, weight_decay=5e-4) == built["optimiser"]
    assert (epochs, 128, "normal") == (built["epochs"], built["batch_size"], built["head_init"])
    assert drops == [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]]
    assert rates[-1] == pytest.approx(0.1 ** len(drops))


def test_the_presets_of_utrera_adapt_batch_normalisation_and_augment_images() -> None:
    augment = ("pad_crop", "flip", "colour_jitter", "rotation")

    for name in ("utrera2021", "utrera2021_few"):
        preset = metadata_of(blocks).presets[name]
        assert (augment, "adapt") == (preset["augment"], preset["batch_norm"])
        assert augment == metadata_of(full).presets[name]["augment"]
    for preset in metadata_of(linear_probe).presets.values():
        assert "sgd" == preset["solver"]


def values_of(factory: Callable[..., Transfer], preset: str) -> Mapping[str, object]:
    """Return the values that a preset builds a factory with, from its canonical JSON."""
    asked = json.loads(canonical_json(metadata_of(factory).presets[preset]))
    values, faults = Options.from_factory(factory).validate(asked)
    assert [] == faults
    return Options.from_factory(factory).python_values(values)


@pytest.mark.parametrize(
    ("factory", "preset"), [(blocks, "salman2020_fixed"), (full, "salman2020_full")]
)
def test_the_presets_of_salman_are_their_recipe(
    factory: Callable[..., Transfer], preset: str
) -> None:
    values = values_of(factory, preset)
    schedule = values["schedule"]
    assert isinstance(schedule, Schedule)
    rates = [schedule.rate_factor(epoch / 150) for epoch in range(150)]

    assert values["optimiser"] == Sgd(lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert (150, 64) == (values["epochs"], values["batch_size"])
    assert ("random_resized_crop", "flip") == values["augment"]
    assert [50, 100] == [epoch for epoch in range(1, 150) if rates[epoch] < rates[epoch - 1]]
    assert 0 == values.get("blocks", 0)


@pytest.mark.parametrize(
    ("factory", "preset", "epochs"),
    [
        (blocks, "robustgenbench_lp50", 50),
        (full, "robustgenbench_fft50", 50),
        (full, "robustgenbench_fft5", 5),
    ],
)
def test_the_protocols_of_robustgenbench_train_against_apgd_without_a_random_start(
    factory: Callable[..., Transfer], preset: str, epochs: int
) -> None:
    values = values_of(factory, preset)
    attack = Apgd(kind="apgd", norm="linf", eps=4 / 255, steps=10, random_start=False)

    assert attack == values["adversary"]
    assert epochs == values["epochs"]
    assert ("flip", "colour_jitter", "rotation") == values["augment"]
    assert 0 == values.get("blocks", 0)


@pytest.mark.parametrize(
    ("factory", "preset"),
    [
        (blocks, "robustgenbench_lp50"),
        (full, "robustgenbench_fft50"),
        (full, "robustgenbench_fft5"),
    ],
)
def test_protocols_with_trades_differ_in_the_adversary_alone(
    factory: Callable[..., Transfer], preset: str
) -> None:
    values, with_trades = values_of(factory, preset), values_of(factory, f"{preset}_trades")
    trades = Trades(kind="trades", norm="linf", eps=4 / 255, steps=10, beta=1.0)

    assert with_trades == {**values, "adversary": trades}


@pytest.mark.parametrize("factory", [linear_probe, logit_affine, blocks, lp_ft])
def test_sharing_activations_does_not_change_the_id(factory: Callable[..., Transfer]) -> None:
    assert not Options.from_factory(factory).fields["cached"].in_id


def test_penalty_beside_sgd_raises_an_error() -> None:
    with pytest.raises(ValueError, match=r"found C 0.1 beside solver 'sgd'.*set weight_decay"):
        linear_probe(solver="sgd", C=0.1)


def test_snapshots_beyond_the_last_epoch_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"found snapshots after epochs \[7, 9\] of 5"):
        blocks(blocks=1, epochs=5, snapshots=(3, 7, 9))
    with pytest.raises(ValueError, match=r"found snapshots after epochs \[3\] of 2"):
        full(epochs=8, adversary=Free(kind="free", eps=0.1, replays=4), snapshots=(2, 3))
