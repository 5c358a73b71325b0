"""`run(compile=True)`: the same records in another environment, and refused where second derivatives are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import advtransfer as at
from advtransfer.cache import environment_key
from advtransfer.errors import BadInput
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.job_costs import JobCosts
from advtransfer.types import Json

COMPILER = "g++ 14"


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilation changes nothing, so that records can be compared to the bit."""
    monkeypatch.setattr("advtransfer.worker.environment.require_compiler", lambda device: COMPILER)
    monkeypatch.setattr(nn.Module, "compile", lambda model, **options: None)


def asked_and_measured(path: Path) -> dict[str, dict[str, Json]]:
    """Return the records of a run by id, without their environment and what was observed."""
    records = {}
    for record in Run(path).read_records():
        provenance = record["provenance"]
        assert isinstance(provenance, dict)
        others = {name: value for name, value in provenance.items() if name != "environment"}
        records[str(record["id"])] = {**record, "provenance": others, "observed": None}
    return records


def one_trial(suite: str, runs: str, **options: Any) -> at.Report:  # noqa: ANN401  # Any: options of run
    return at.run(
        suite,
        name="tiny",
        runs=runs,
        executor="local/inline",
        only="transfer=probe",
        battery="none",
        quiet=True,
        **options,
    )


@pytest.mark.usefixtures("_no_compiler")
def test_records_of_compiled_models_differ_in_their_environment_alone(
    own_folder: Path, suite_text: str
) -> None:
    compiled = one_trial(suite_text, "compiled", compile=True)
    plain = one_trial(suite_text, "plain")
    environments = [Run(report.path).read_environments() for report in (compiled, plain)]

    assert compiled.ok
    assert asked_and_measured(compiled.path) == asked_and_measured(plain.path)
    # Nothing is copied from records of another environment.
    assert not set(environments[0]) & set(environments[1])
    assert [[COMPILER], [None]] == [
        [each.get("compiler") for each in environment.values()] for environment in environments
    ]
    keys = {path.name for path in (own_folder / "cache" / "artifacts").iterdir()}
    assert keys == {"cpu-1-float32", "cpu-1-float32-compiled"}


@pytest.mark.usefixtures("_no_compiler")
def test_compiled_and_plain_records_are_mixed_on_request_alone(
    own_folder: Path, suite_text: str
) -> None:
    compiled = one_trial(suite_text, "compiled", compile=True)
    plain = one_trial(suite_text, "plain")
    with pytest.raises(
        BadInput, match="found no --compile; expected --compile, as in the records of"
    ):
        one_trial(suite_text, "compiled")
    with pytest.raises(BadInput, match="found --compile; expected no --compile"):
        one_trial(suite_text, "plain", compile=True)
    with pytest.raises(BadInput, match=f"found no --compile in {plain.path}; expected --compile"):
        at.merge([compiled.path, plain.path], into="both")

    assert one_trial(suite_text, "compiled", compile=True).ok
    assert one_trial(suite_text, "compiled", mixed=True).ok


@pytest.mark.usefixtures("_no_compiler")
def test_costs_and_kept_models_are_those_of_the_same_settings(
    own_folder: Path, suite_text: str
) -> None:
    both: dict[str, Any] = {"compile": True, "kernel_batch": 96}  # Any: options of run
    report = one_trial(suite_text, "runs", keep="models", **both)
    learned = []
    for options in (both, {"compile": True}, {"kernel_batch": 96}):
        costs = JobCosts()
        costs.add_run(Run(report.path), RunSettings(battery="none", **options), most_trials=10)
        learned.append(bool(costs._by_id))
    # It is loaded, and not fitted again under another key.
    at.open(report.path).model("random -> digits n=20 seed=0 probe")

    assert learned == [True, False, False]
    keys = [path.name for path in (own_folder / "cache" / "artifacts").iterdir()]
    assert keys == ["cpu-1-float32-96-compiled"]


def test_the_cache_key_names_the_kernel_batch_before_the_compiler() -> None:
    assert environment_key("cuda:1", 1, "float32") == "cuda-1-float32"
    assert environment_key("cpu", 2, "float32", 96, True) == "cpu-2-float32-96-compiled"


@pytest.mark.usefixtures("_no_compiler", "own_folder")
def test_transfers_that_take_second_derivatives_are_refused_by_name(suite_text: str) -> None:
    matched = "transfers:\n  matched: {use: igam/igam, epochs: 1}\n"
    suite = suite_text.replace("transfers:\n", matched)
    with pytest.raises(BadInput) as caught:
        at.run(suite, name="tiny", runs="refused", limit=0, compile=True, quiet=True)

    assert (
        "found --compile and the transfer 'matched' (igam/igam), which takes second derivatives; "
        "expected transfers that take first derivatives only, since torch.compile has no others; "
        "leave --compile out, or choose other transfers with --only" in str(caught.value)
    )
    # Without the option, or without its trials, the transfer is no obstacle.
    at.run(suite, name="tiny", runs="plain", limit=0, quiet=True)
    at.run(
        suite, name="tiny", runs="rest", only="transfer=probe", limit=0, compile=True, quiet=True
    )
    assert not Path("refused/tiny/plan.json").exists()
