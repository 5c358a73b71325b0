"""The script of `examples/` that reads leads of robust sources out of published records, on numbers known by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "lead_by_distance.py"
pandas = pytest.importorskip("pandas", reason="[pandas] is not installed")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lead_by_distance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(source: str, replicate: int, value: float, **others: object) -> dict[str, object]:
    usual = {"target": "mnist", "n": 100, "transfer": "probe C=1", "evaluation": "clean"}
    return {
        **usual,
        "source": source,
        "replicate": replicate,
        "metric": "accuracy",
        "value": value,
        **others,
    }


def test_a_lead_is_over_the_natural_source_of_the_same_training_and_probe(
    script: ModuleType,
) -> None:
    frame = pandas.DataFrame(
        [
            row("cifar kept", 20, 0.5),
            row("cifar kept", 21, 0.6),
            row("cifar kept l2 0.5", 20, 0.52),
            row("cifar kept l2 0.5", 21, 0.66),
            row("cifar kept l2 0.5", 20, 0.9, transfer="probe C=0.01"),  # without a natural one
            row("cifar pooled", 20, 0.1),  # other features
            row("cifar kept", 20, 0.7, evaluation="from_cifar", metric="mmd2"),
        ]
    )
    rows = script.leads(script.read_accuracies(frame)).dropna(subset="lead")

    assert rows["lead"].tolist() == pytest.approx([2, 6])
    assert set(rows["features"]) == {"kept"}
    assert set(rows["l2"]) == {0.5}
    # 4 +- t(.975, 1 degree of freedom) * 2, the standard error of 2 and 6
    assert script.interval(rows) == "+4.0 [-21.4, +29.4]"


def test_distances_stand_by_source_data_and_target(script: ModuleType) -> None:
    frame = pandas.DataFrame(
        [
            row("cifar pooled", 20, 0.25, evaluation="from_cifar", metric="mmd2"),
            row("cifar pooled", 21, 0.25, evaluation="from_cifar", metric="mmd2"),
            row("cifar pooled", 20, 3.0, evaluation="from_cifar", metric="frechet"),
            row("cifar pooled", 20, 9.0, evaluation="from_cifar", metric="width"),
        ]
    )
    distances = script.read_distances(frame)

    assert distances.index.tolist() == [("cifar", "mnist")]
    assert distances.loc["cifar", "mnist"].to_dict() == {"mmd2": 0.25, "frechet": 3.0}


def test_a_trial_without_a_natural_one_is_told_and_is_no_part_of_a_mean(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pandas.DataFrame(
        [
            row("cifar kept", 20, 0.5, unlearned=None),
            row("cifar kept l2 0.5", 20, 0.52, unlearned=None),
            row("cifar kept l2 0.5", 21, 0.66, unlearned=None),
            row("cifar pooled", 20, 0.25, evaluation="from_cifar", metric="mmd2"),
        ]
    )
    report = SimpleNamespace(frame=lambda: frame)
    monkeypatch.setattr(script.advtransfer, "open", lambda _: report)

    with pytest.raises(SystemExit, match="found 1 trials without a result"):
        script.main("somewhere")
