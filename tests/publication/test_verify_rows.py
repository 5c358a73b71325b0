"""Rows of a submission: none of its cells may be left out, also where a plugin is not installed here.

Most cheats are held against the board alone, which reads no digest of a file; some go through all of `verify`, with
every digest and the root made consistent.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from advtransfer.host import Host, Plugin
from advtransfer.node import content_id
from advtransfer.planning import Plan
from advtransfer.publication.board_check import LocalBoards, check_board
from advtransfer.publication.board_rows import board_faults
from advtransfer.publication.cells import plan_differences, plan_suite
from advtransfer.publication.missing_plugins import StandInPlan, plan_with_stand_ins
from advtransfer.publication.report import verdict_line, verification_lines
from advtransfer.publication.shared_facts import fact_faults
from advtransfer.publication.verify import Verification, verify_bundle
from advtransfer.result import Run
from advtransfer.result.record import pack_outcomes, unpack_outcomes
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle

Record: TypeAlias = dict[str, Any]  # Any: JSON

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
COPIED = "expected those of its own model"
"""End of the faults of outcomes that stand twice, which the rows made here for speed have."""
CELL = "linf 0.1[seed=0] -> digits_5_9 n=20 seed=0 probe"
GHOST = "mine: {use: ghost/trained, epochs: 4, seeds: 3}"
SHORT = (
    "mine: {use: vision/trained, epochs: 29, adversary: {norm: linf, eps: 0.2, steps: 7}, seeds: 3}"
)


def host_without(name: str) -> Host:
    """Return a host of the installed plugins without one."""
    return Host(
        Plugin(entry.name, entry.value, "advtransfer", "0")
        for entry in entry_points(group="advtransfer")
        if entry.name != name
    )


def add_source_row(bundle: Bundle, entry: str, use: str) -> None:
    """Add the row `mine`: records of the row `linf 0.2` under the ids of another source.

    Args:
        bundle: The bundle.
        entry: The entry of the source in its suite.
        use: The component in what its records were asked.
    """
    sources = {
        id: label for id, label in bundle.plan["sources"].items() if label.startswith("linf 0.2[")
    }
    trials = [trial for trial in bundle.plan["trials"] if trial["row"] == "linf 0.2"]
    models = {trial["id"] for trial in trials}
    records = [
        record
        for record in bundle.records.values()
        if record["id"] in {*sources, *models} or record["asked"]["inputs"].get("model") in models
    ]
    part = copy.deepcopy([trials, sources, records])
    # An id is the hash of the ids that it is made from, so kinds are renamed one after another.
    for kind in ("source", "fit", "battery", "result"):
        renamed: dict[str, str] = {}
        for record in part[2]:
            if record["kind"] == kind:
                if kind == "source":
                    record["asked"]["use"] = use
                    record["asked"]["options"]["epochs"] = 29
                renamed[record["id"]] = content_id(record["asked"])
        text = json.dumps(part)
        for old, new in renamed.items():
            text = text.replace(old, new)
        part = json.loads(text.replace("linf 0.2", "mine"))
    bundle.plan["trials"] += part[0]
    bundle.plan["trials"].sort(key=_plan_order)
    bundle.plan["sources"] |= part[1]
    bundle.records |= {record["id"]: record for record in part[2]}
    edit_suite(bundle, "  random: {use", f"  {entry}\n  random: {{use")


def _plan_order(trial: Record) -> list[object]:
    return [trial[axis] for axis in ("n", "transfer", "row", "source", "seed")]


def edit_suite(bundle: Bundle, old: str, new: str) -> None:
    path = bundle.path / "suite.yaml"
    path.write_text(path.read_text().replace(old, new, 1))


def drop_evaluation(bundle: Bundle, trial: Record, label: str) -> None:
    for id in trial["evaluations"].pop(label):
        battery = bundle.records.pop(id)["battery"]
        for name in battery if isinstance(battery, dict) else [battery]:
            bundle.records.pop(str(name), None)


def drop_trial(bundle: Bundle, trial: Record) -> None:
    for label in list(trial["evaluations"]):
        drop_evaluation(bundle, trial, label)
    del bundle.records[trial["id"]]
    bundle.plan["trials"].remove(trial)


def own_trials(bundle: Bundle) -> list[Record]:
    return [trial for trial in bundle.plan["trials"] if trial["row"] == "mine"]


# --- rows of a plugin that is not installed ---


@pytest.mark.parametrize(
    ("suite", "plugin"),
    [
        ("quickstart", "finetune"),
        ("quickstart", "foolbox"),
        ("quickstart", "vision"),
        ("synthetic_alignment", "alignment"),
        ("synthetic_alignment", "vision"),
        ("interpret_digits", "interpret"),
    ],
)
def test_without_a_plugin_the_suite_gives_the_plan_that_it_gives_with_it(
    suite: str, plugin: str
) -> None:
    run = Run(RESULTS / suite / "advtransfer")
    plan = Plan.from_json(run.read_plan())
    found = plan_with_stand_ins(run.path, plan, host_without(plugin))
    records = {str(record["id"]): record for record in run.read_records()}

    assert isinstance(found, StandInPlan)
    assert [plugin] == found.missing
    assert [] == list(plan_differences(plan, found.planned.plan))
    assert [] == list(found.record_faults(records, {}))


def test_with_all_plugins_there_are_no_stand_ins(host: Host) -> None:
    run = Run(RESULTS / "quickstart" / "advtransfer")

    assert plan_with_stand_ins(run.path, Plan.from_json(run.read_plan()), host) is None


def add_ghost(bundle: Bundle) -> None:
    add_source_row(bundle, GHOST, "ghost/trained")


def drop_a_ghost_cell(bundle: Bundle) -> None:
    add_ghost(bundle)
    drop_trial(bundle, bundle.trial("mine[seed=1] -> digits_5_9 n=20 seed=1 probe"))


def keep_the_best_ghost_cell(bundle: Bundle) -> None:
    add_ghost(bundle)
    for trial in own_trials(bundle):
        if (trial["n"], trial["seed"], trial["transfer"]) != (100, 0, "block1"):
            drop_trial(bundle, trial)


def drop_a_board_cell(bundle: Bundle) -> None:
    add_ghost(bundle)
    drop_trial(bundle, bundle.trial(CELL))


def weaken_eps_on_a_ghost(bundle: Bundle) -> None:
    add_ghost(bundle)
    record = bundle.result("mine[seed=0] -> digits_5_9 n=20 seed=0 probe", "fgsm")
    options = {**record["asked"]["options"], "eps": 0.05}
    bundle.rename(record["id"], {**record["asked"], "options": options})


def skip_a_ghost_cell(bundle: Bundle) -> None:
    add_ghost(bundle)
    trial = bundle.trial("mine[seed=2] -> digits_5_9 n=100 seed=2 probe")
    drop_trial(bundle, trial)
    bundle.plan["trials"].append(trial | {"evaluations": {}, "skipped": "the shapes differ"})
    bundle.plan["trials"].sort(key=_plan_order)


def measure_another_ghost(bundle: Bundle) -> None:
    add_source_row(bundle, GHOST, "ghost/pretrained")


def name_a_ghost_in_a_default(bundle: Bundle) -> None:
    """A plugin that nothing uses, so that the plan could not be made."""
    drop_trial(bundle, bundle.trial(CELL))
    edit_suite(bundle, "defaults:", "defaults:\n  ghost/trained: {epochs: 2}")


# --- rows of installed plugins ---


def leave_out_an_evaluation(bundle: Bundle) -> None:
    add_source_row(bundle, SHORT, "vision/trained")
    edit_suite(bundle, "exclude: []", 'exclude: [{source: "mine?seed=1?", evaluation: auto}]')
    for trial in own_trials(bundle):
        if trial["seed"] == 1:
            drop_evaluation(bundle, trial, "auto")


def leave_out_a_transfer(bundle: Bundle) -> None:
    add_source_row(bundle, SHORT, "vision/trained")
    edit_suite(bundle, "exclude: []", "exclude: [{source: mine, transfer: probe}]")
    for trial in own_trials(bundle):
        if trial["transfer"] == "probe":
            drop_trial(bundle, trial)


def leave_out_a_training(bundle: Bundle) -> None:
    add_source_row(bundle, SHORT, "vision/trained")
    edit_suite(bundle, "exclude: []", 'exclude: [{source: "mine?seed=1?"}]')
    for trial in own_trials(bundle):
        if trial["seed"] == 1:
            drop_trial(bundle, trial)


def leave_out_an_evaluation_of_the_board(bundle: Bundle) -> None:
    edit_suite(
        bundle,
        "exclude: []",
        "exclude: [{source: linf 0.1, n: 20, transfer: probe, evaluation: auto}]",
    )
    for trial in bundle.plan["trials"]:
        if (trial["row"], trial["n"], trial["transfer"]) == ("linf 0.1", 20, "probe"):
            drop_evaluation(bundle, trial, "auto")


CHEATS: Mapping[str, tuple[Callable[[Bundle], None], str]] = {
    "drop a cell": (drop_a_ghost_cell, "mine[seed=1] -> digits_5_9 n=20 seed=1 probe"),
    "keep the best": (keep_the_best_ghost_cell, "mine[seed=2] -> digits_5_9 n=100 seed=2 block1"),
    "drop a cell of the board": (drop_a_board_cell, CELL),
    "weaken eps": (weaken_eps_on_a_ghost, "mine[seed=0] -> digits_5_9 n=20 seed=0 probe"),
    "skip a cell": (skip_a_ghost_cell, "mine[seed=2] -> digits_5_9 n=100 seed=2 probe"),
    "another component": (measure_another_ghost, "source mine[seed=0]"),
    "an unused plugin": (name_a_ghost_in_a_default, CELL),
    "no auto": (leave_out_an_evaluation, "mine[seed=1] -> digits_5_9 n=100 seed=1 block1, auto"),
    "no probe": (leave_out_a_transfer, "mine -> digits_5_9 probe"),
    "no second training": (
        leave_out_a_training,
        "mine[seed=1] -> digits_5_9 n=20 seed=1 probe",
    ),
    "no auto of the board": (leave_out_an_evaluation_of_the_board, f"{CELL}, auto"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cell_that_is_left_out_or_changed_is_named(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    cheat, cell = CHEATS[name]
    cheat(bundle)
    bundle.write()
    run = Run(bundle.path)
    plan = Plan.from_json(run.read_plan())
    faults = check_board(run, plan, boards, host, bundle.records, [])

    assert cell in {fault.cell for fault in faults}


@pytest.mark.parametrize("name", ["drop a cell", "another component", "no auto"])
def test_a_thorough_cheat_is_found_by_verify(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    cheat, cell = CHEATS[name]
    cheat(bundle)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert cell in {fault.cell for fault in found.faults}
    assert not any("sha256" in fault.text for fault in found.faults)


@pytest.mark.parametrize(
    ("entry", "use"),
    [(GHOST, "ghost/trained"), (SHORT, "vision/trained")],
    ids=["not installed", "installed"],
)
def test_a_whole_row_is_no_fault(
    entry: str, use: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    add_source_row(bundle, entry, use)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert [] == [str(fault) for fault in found.faults if COPIED not in fault.text]
    assert (entry == GHOST) == any("without the plugins ghost" in note for note in found.notes)


# --- what a suite may leave out ---


@pytest.mark.parametrize(
    ("added", "cells"),
    [
        ("transfers: {block2: {use: finetune/blocks, blocks: 2}}", []),
        (
            "transfers: {block2: {use: finetune/blocks, blocks: 2, only: {source: [linf*]}}}",
            ["natural -> digits_5_9 block2", "random -> digits_5_9 block2"],
        ),
        (
            "transfers: {scratch: {use: finetune/scratch, network: {use: vision/random_init, data: high}}}",
            [],
        ),
        (
            "transfers: {scratch: {use: finetune/scratch, network: {use: vision/random_init, data: high}}}\n"
            "exclude: [{transfer: scratch, n: 20, seed: 2}]",
            ["no source -> digits_5_9 n=20 seed=2 scratch"],
        ),
        (f"sources: {{{SHORT}}}", []),
        (
            f"sources: {{{SHORT[:-1]}, only: {{n: 20, seed: [0, 1]}}}}}}",
            [
                "mine[seed=0] -> digits_5_9 n=100 seed=0 block1",
                "mine[seed=0] -> digits_5_9 n=100 seed=0 probe",
                *(
                    f"mine[seed={seed}] -> digits_5_9 n={n} seed={seed} {transfer}"
                    for transfer in ("block1", "probe")
                    for n, seed in ((100, 1), (20, 2), (100, 2))
                ),
            ],
        ),
        ("targets: {digits_5_9: {leakage: off}}", ["target digits_5_9"]),
        # A new source with a new transfer is no row of the board.
        (
            f"sources: {{{SHORT}}}\ntransfers: {{block2: {{use: finetune/blocks, blocks: 2}}}}\n"
            "exclude: [{source: mine, transfer: block2}]",
            [],
        ),
        (
            f"sources: {{{SHORT}}}\ntransfers: {{block2: {{use: finetune/blocks, blocks: 2}}}}\n"
            "exclude: [{source: mine, transfer: block2, n: 20, seed: 0}]",
            ["mine[seed=0] -> digits_5_9 n=20 seed=0 block2"],
        ),
    ],
)
def test_a_row_has_every_cell_of_the_rows_of_the_board(
    added: str, cells: list[str], boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    assert boards.planned is not None
    (tmp_path / "mine.yaml").write_text(f"extends: quickstart\n{added}\n")
    mine = plan_suite(str(tmp_path / "mine.yaml"), host)
    faults = board_faults(mine, boards.planned, frozenset({"sources", "transfers"}))

    assert sorted(cells) == sorted(fault.cell for fault in faults)


# --- outcomes of one model ---


@pytest.mark.parametrize(
    ("evaluation", "metric"), [("clean", "accuracy"), ("auto", "clean_accuracy")]
)
def test_a_clean_accuracy_that_is_raised_alone_is_named(
    evaluation: str, metric: str, bundle: Bundle
) -> None:
    record = bundle.result(CELL, evaluation)
    honest = list(fact_faults(bundle.records.values(), {}, None))
    outcomes = list(map(Outcome, unpack_outcomes(record["outcomes"][metric])))
    raised = [Outcome.ROBUST if value == Outcome.WRONG else value for value in outcomes]
    record["outcomes"][metric] = pack_outcomes(raised)
    faults = list(fact_faults(bundle.records.values(), {}, None))

    assert honest == []
    assert {record["id"]} == {fault.record for fault in faults}
    assert any(
        f"found {metric} with {outcomes.count(Outcome.WRONG)} images" in fault.text
        for fault in faults
    )


@pytest.mark.parametrize(("raised", "is_fault"), [(6, False), (7, True)])
def test_another_environment_excuses_few_errors_without_attack(
    raised: int, is_fault: bool, bundle: Bundle
) -> None:
    """A second environment that is named, and was never there, would else make a cell its own judge."""
    record = bundle.result(CELL, "clean")
    values = list(map(Outcome, unpack_outcomes(record["outcomes"]["accuracy"])))
    right = [position for position, value in enumerate(values) if value == Outcome.ROBUST]
    for position in right[:raised]:
        values[position] = Outcome.WRONG
    record["outcomes"]["accuracy"] = pack_outcomes(values)
    record["provenance"]["environment"] = "e" * 64
    faults = list(fact_faults(bundle.records.values(), {}, None))

    assert is_fault == bool(faults)
    for fault in faults:
        assert fault.record == record["id"]
        assert f"{raised} of 269 images" in fault.text
        assert "in the environment eeeeeeeeeeee" in fault.text


@pytest.mark.parametrize("started", [4e9, 1e9, 0])
def test_a_time_that_cannot_be_is_named(started: float, bundle: Bundle) -> None:
    record = bundle.result(CELL, "clean")
    record["observed"]["started"] = started
    faults = list(fact_faults([record], {}, None))

    assert [f"found started {started:.6g}; expected seconds since 1970, of 2020 to now"] == [
        fault.text for fault in faults
    ]


def test_the_verdict_stands_last_and_after_a_replay() -> None:
    found = Verification(Path("bundle"))

    assert verification_lines(found)[-1] == "verified: nothing is wrong"
    assert not any("verified" in line for line in verification_lines(found, replayed=True))
    assert verdict_line(1, unchecked="") == "1 fault"
