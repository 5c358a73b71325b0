"""The small suites of docs/papers.md, run: each experiment of the papers gives a number that is known otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.numpy import load_file

from advtransfer.cli import main
from advtransfer.planning import Plan
from advtransfer.planning.trials import Trial

PAGE = Path(__file__).parents[2] / "docs" / "papers.md"
SUITE_BLOCK = re.compile(r"```yaml\n(?P<text># (?P<name>\w+)\.yaml\n.*?)```", re.DOTALL)
SUITES = {match["name"]: match["text"] for match in SUITE_BLOCK.finditer(PAGE.read_text("utf-8"))}

MINUS = "\N{MINUS SIGN}"

Record = Mapping[str, Any]
"""A record's JSON."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Finished:
    """A run with its records by id."""

    folder: Path

    @cached_property
    def records(self) -> dict[str, Record]:
        paths = self.folder.glob("records/*/*.json")
        return {path.stem: json.loads(path.read_text()) for path in paths}

    @cached_property
    def plan(self) -> Plan:
        return Plan.from_json(json.loads((self.folder / "plan.json").read_text()))

    @cached_property
    def page(self) -> str:
        return (self.folder / "leaderboard.md").read_text("utf-8")

    def trials(self, **labels: object) -> list[Trial]:
        found = [
            trial
            for trial in self.plan.trials
            if all(getattr(trial, axis) == label for axis, label in labels.items())
        ]
        assert found, labels
        return found

    def trial(self, **labels: object) -> Trial:
        (trial,) = self.trials(**labels)
        return trial

    def fit(self, **labels: object) -> Record:
        return self.records[self.trial(**labels).id]

    def result(self, evaluation: str, **labels: object) -> Record:
        (id,) = self.trial(**labels).evaluations[evaluation]
        return self.records[id]

    def metric(self, name: str, **labels: object) -> float:
        evaluation, _, metric = name.partition(".")
        return float(self.result(evaluation, **labels)["metrics"][metric]["value"])

    def arrays(self, evaluation: str, **labels: object) -> dict[str, NDArray[np.float64]]:
        record = self.result(evaluation, **labels)
        return load_file(self.folder / record["samples"]["file"])

    def cells(self, *words: str) -> list[str]:
        """The cells of the first line of a table that has these cells."""
        for line in self.page.splitlines():
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            if set(words) <= set(cells):
                return cells
        raise AssertionError(f"no line of a table has the cells {words}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    runs: dict[str, Finished] = {}

    def run(name: str) -> Finished:
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            (folder / f"{name}.yaml").write_text(SUITES[name])
            arguments = ["run", str(folder / f"{name}.yaml"), "--runs", str(folder / "runs")]
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ADVTRANSFER_CACHE", str(folder / "cache"))
                ended = CliRunner().invoke(main, [*arguments, "--executor", "local/inline"])
            assert ended.exit_code == 0, ended.output
            runs[name] = Finished(folder / "runs" / name)
        return runs[name]

    return run


@pytest.fixture
def liang(finished: Callable[[str], Finished]) -> Finished:
    return finished("liang2021")


@pytest.fixture
def utrera(finished: Callable[[str], Finished]) -> Finished:
    return finished("utrera2021")


@pytest.fixture
def chan(finished: Callable[[str], Finished]) -> Finished:
    return finished("chan2020")


def test_every_suite_of_the_page_is_run_here() -> None:
    assert {*SUITES} == {"liang2021", "utrera2021", "chan2020"}


@pytest.mark.parametrize("name", [*SUITES])
def test_everything_that_a_suite_asks_is_on_its_page(
    finished: Callable[[str], Finished], name: str
) -> None:
    run = finished(name)

    assert "## Requested by the suite, but in no record" not in run.page
    for image in re.findall(r"!\[[^]]*\]\(([^)]+)\)", run.page):
        assert (run.folder / image).stat().st_size > 0


@pytest.mark.parametrize("name", ["alpha_1_st", "alpha_1_ts", "joint_st", "tau_1"])
@pytest.mark.parametrize("source", ["natural", "random"])
def test_the_first_direction_is_the_attack_of_level_0(
    liang: Finished, source: str, name: str
) -> None:
    labels = {"source": source, "target": "high", "transfer": "probe"}
    direction = liang.metric(f"directions.direction_1_{name}", **labels)

    assert direction == pytest.approx(liang.metric(f"singular.{name}", **labels), rel=1e-3)
    # Of level 1 there is another number, and over all directions one from 0 to 1.
    assert liang.metric(f"directions.direction_2_{name}", **labels) != pytest.approx(direction)
    assert 0 <= liang.metric("directions.weighted_alpha_1", **labels) <= 1


def test_the_affinity_map_shows_the_measured_numbers(liang: Finished) -> None:
    (text,) = re.findall(r"!\[(singular\.alpha_1_ts by source and target[^]]*)\]", liang.page)
    cells = [
        (
            liang.metric(
                "singular.alpha_1_ts", source=trial.source, target=trial.target, transfer="probe"
            ),
            f"{trial.source} and {trial.target}",
        )
        for trial in liang.trials(transfer="probe", adapter="same")
    ]

    for words, (value, place) in (("highest", max(cells)), ("lowest", min(cells))):
        assert f"{words} {value:.3f}".replace(" 0.", " .") + f" for {place}" in text


def test_controlled_transferability_of_weight_0_is_fine_tuning(liang: Finished) -> None:
    weights = {
        name: liang.fit(source="natural", target="high", transfer=name)["weights"]["digest"]
        for name in ("full", "apart[rho=-5]", "apart[rho=0]", "apart[rho=5]")
    }

    assert weights["apart[rho=0]"] == weights["full"]
    assert len(set(weights.values())) == 3


def test_knowledge_and_adversarial_transfer_change_places_in_a_question(liang: Finished) -> None:
    sources = ("natural", "random", "shaken 0", "shaken 0.5")
    alphas, losses = (
        [liang.metric(name, source=source, target="even", transfer="probe") for source in sources]
        for name in ("singular.alpha_1_ts", "loss.loss")
    )
    pearson = np.corrcoef(alphas, losses)[0, 1]

    for predictor in ("singular.alpha_1_ts", "loss.loss"):
        cells = liang.cells(predictor, "4")
        assert float(cells[2]) == pytest.approx(pearson, abs=6e-4)


def test_the_question_across_images_gives_what_the_evaluation_measured(liang: Finished) -> None:
    cells = liang.cells("even, n = 30, from natural, via same, probe")
    record = liang.result("images", source="natural", target="even", transfer="probe")

    for cell, name in zip(cells[-2:], ("pearson_ts", "spearman_ts"), strict=True):
        assert float(cell.split()[0]) == pytest.approx(record["metrics"][name]["value"], abs=6e-4)
    assert int(cells[2]) == record["metrics"]["kept_ts"]["value"]


def test_alexnet_has_the_parameters_of_its_layers(liang: Finished) -> None:
    (record,) = (
        record
        for record in liang.records.values()
        if "cifar_alexnet" in json.dumps(record["asked"]["options"])
    )
    sizes = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
    layers = sum(inner * outer * side**2 + outer for inner, outer, side in sizes)

    assert record["facts"]["parameters"] == layers + 3 * 256 + 3


def accuracies(run: Finished, **labels: object) -> list[float]:
    ids = [id for trial in run.trials(**labels) for id in trial.evaluations["clean"]]
    return [run.records[id]["metrics"]["accuracy"]["value"] for id in ids]


def test_all_sizes_of_the_subset_stand_in_one_table(utrera: Finished) -> None:
    header = utrera.cells("source", "transfer", "n = 12", "n = 48")
    table = utrera.page.partition("### high: `clean.accuracy`\n")[2].partition("\n### ")[0]
    (line,) = (row for row in table.splitlines() if "| robust " in row and "| three " in row)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]

    for n in (12, 48):
        mean = np.mean(accuracies(utrera, source="robust", n=n, transfer="three"))
        assert float(cells[header.index(f"n = {n}")].split()[0]) == pytest.approx(mean, abs=6e-4)


def baseline_rows(run: Finished) -> Iterator[tuple[str, list[float]]]:
    yield "natural", accuracies(run, source="natural", n=48, transfer="three")
    yield "random", accuracies(run, source="random", n=48, transfer="three")
    yield "probe", accuracies(run, source="robust", n=48, transfer="probe")


def test_each_of_three_baselines_has_the_mean_of_paired_differences(utrera: Finished) -> None:
    own = accuracies(utrera, source="robust", n=48, transfer="three")
    table = utrera.page.partition("### high, n = 48\n")[2].partition("\n### ")[0]
    header, row = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("| rank ") or ("| robust " in line and "| three " in line)
    )
    deltas = [cell for title, cell in zip(header, row, strict=True) if "Δ" in title]

    for cell, (_, others) in zip(deltas, baseline_rows(utrera), strict=True):
        expected = np.mean(np.subtract(own, others))
        assert float(cell.split()[0].replace(MINUS, "-")) == pytest.approx(expected, abs=6e-4)


def test_snapshots_end_with_the_fitted_model(utrera: Finished) -> None:
    for trial in utrera.trials(transfer="one"):
        (id,) = trial.evaluations["clean"]
        metrics = utrera.records[id]["metrics"]
        assert {"accuracy", "accuracy@1", "accuracy@2"} <= {*metrics}
        assert metrics["accuracy"]["of"] == 60


def test_influence_ranks_images_of_the_same_class_first(utrera: Finished) -> None:
    for source in ("natural", "robust"):
        for trial in utrera.trials(source=source, n=48, transfer="probe"):
            (id,) = trial.evaluations["influence"]
            metrics = utrera.records[id]["metrics"]
            # Three classes of 16 images each.
            assert metrics["chance_match"]["value"] == pytest.approx(1 / 3)
            assert metrics["class_match@1"]["value"] > 0.8
            assert metrics["hessian_size"]["value"] >= metrics["hessian_rank"]["value"]
            assert "most_influential" in utrera.records[id]["files"]


def test_a_set_has_no_distance_from_itself(utrera: Finished) -> None:
    for trial in utrera.trials(source="natural", n=48, transfer="probe"):
        (id,) = trial.evaluations["distance"]
        metrics = utrera.records[id]["metrics"]
        assert metrics["mmd2_low"]["value"] <= 0 or abs(metrics["mmd2"]["value"]) < 0.01


def test_fine_tuned_models_lose_accuracy_under_attack(utrera: Finished) -> None:
    for trial in utrera.trials(n=48, transfer="three"):
        (clean,), (attacked,) = trial.evaluations["clean"], trial.evaluations["pgd"]
        accuracy = utrera.records[clean]["metrics"]["accuracy"]["value"]
        metrics = utrera.records[attacked]["metrics"]
        assert metrics["clean_accuracy"]["value"] == accuracy
        assert metrics["robust_accuracy@0.5"]["value"] <= accuracy


CHAN = {"source": "robust", "target": "large", "adapter": "resize"}


def test_igam_without_weights_is_standard_training(chan: Finished) -> None:
    standard = chan.fit(transfer="standard")["curves"]
    without = chan.fit(**CHAN, transfer="diff[lambda_diff=0]")["curves"]
    losses = [row["student_loss"] for row in without if "student_loss" in row]

    assert losses == pytest.approx([row["train_loss"] for row in standard], rel=1e-5)


def test_sweeps_of_both_weights_are_tables(chan: Finished) -> None:
    # The second curve has a point of the first sweep, and the name of its first row.
    for transfer, option, values, row in (
        ("diff", "lambda_diff", (0, 1, 10), "diff"),
        ("adv", "lambda_adv", (0.1, 1), "adv\\[lambda_adv=0.1]"),
    ):
        for value in values:
            label = f"{transfer}[{option}={value}]"
            accuracy = chan.metric("clean.accuracy", **CHAN, transfer=label)
            cells = chan.cells("large, n = 60", f"robust via resize, {row}", f"{value:g}")
            assert float(cells[3].split()[0]) == pytest.approx(accuracy, abs=6e-4)


def test_gradients_come_closer_with_the_weight_of_their_distance(chan: Finished) -> None:
    facts = [
        chan.fit(**CHAN, transfer=f"diff[lambda_diff={value}]")["facts"] for value in (0, 1, 10)
    ]
    curves = [
        chan.fit(**CHAN, transfer=f"diff[lambda_diff={value}]")["curves"][-1] for value in (0, 10)
    ]

    assert curves[1]["gradient_distance"] < curves[0]["gradient_distance"]
    for each in facts:
        assert -1 <= each["gradient_cosine"] <= 1
        assert 0 <= each["discriminator_accuracy"] <= 1
        gap = abs(each["alignment_student"] - each["alignment_teacher"])
        # By the triangle inequality.
        assert each["alignment_difference"] >= gap - 1e-12
    (line,) = (
        line
        for line in chan.page.splitlines()
        if line.startswith("|")
        and "| resize " in line
        and "diff\\[lambda_diff=1] " in line
        and "| robust " in line
    )
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    names = ("gradient_cosine", "alignment_difference", "discriminator_accuracy")
    for cell, name in zip(cells[6:9], names, strict=True):
        assert float(cell) == pytest.approx(facts[1][name], abs=6e-4)


def test_the_bound_of_equation_18_holds_at_each_image(chan: Finished) -> None:
    arrays = chan.arrays("bound", **CHAN, transfer="diff[lambda_diff=1]")

    assert np.all(arrays["rho"] <= arrays["alignment"] + arrays["remainder"] + 1e-4)


def test_seconds_an_epoch_leave_out_the_teachers_tuning(chan: Finished) -> None:
    for trial in chan.trials(transfer="diff[lambda_diff=1]"):
        observed = chan.records[trial.id]["observed"]
        assert 0 < observed["own_seconds"] <= observed["seconds"]["fit"]
    shared = [
        chan.records[trial.id]["observed"]["seconds"]["fit"]
        - chan.records[trial.id]["observed"]["own_seconds"]
        for trial in chan.plan.trials
        if trial.adapter == "resize" and trial.transfer.startswith(("diff", "adv"))
    ]
    # One of them tuned the teacher of all.
    assert max(shared) > 5 * float(np.median(shared))


def test_the_last_iterate_is_judged_alone(chan: Finished) -> None:
    record = chan.result("last", **CHAN, transfer="teacher")

    assert "accuracy@0.1" in record["metrics"]
    assert not any(name.startswith("robust_accuracy") for name in record["metrics"])


def test_an_adapted_image_has_a_row_of_its_own(chan: Finished) -> None:
    from PIL import Image

    heights = []
    for evaluation in ("saliency", "adapted"):
        record = chan.result(evaluation, **CHAN, transfer="teacher")
        with Image.open(chan.folder / record["files"]["saliency"]) as picture:
            heights.append(picture.height)

    # Two rows of one inch and a quarter for titles, then three: at 120 dots per inch.
    assert heights == [270, 390]
