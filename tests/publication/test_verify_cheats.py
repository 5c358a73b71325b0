"""Ways to cheat with a published bundle, each naive (digests left alone) and thorough (all made consistent)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.node import content_id
from advtransfer.publication.board_check import LocalBoards
from advtransfer.publication.manifest import MANIFEST_FILE
from advtransfer.publication.verify import Verification, verify_bundle
from advtransfer.result.record import pack_outcomes, unpack_outcomes
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle

Record: TypeAlias = dict[str, Any]  # Any: JSON

CELL = "linf 0.1[seed=0] -> digits_5_9 n=20 seed=0 probe"
OTHER_CELL = "natural[seed=1] -> digits_5_9 n=20 seed=1 probe"


def _record_ids(trial: Record) -> list[str]:
    return [trial["id"], *(id for ids in trial["evaluations"].values() for id in ids)]


# --- ways to cheat: each edits records and plan ---


def drop_a_seed(bundle: Bundle) -> None:
    for id in _record_ids(bundle.trial(CELL)):
        del bundle.records[id]
    bundle.plan["trials"].remove(bundle.trial(CELL))


def drop_records(bundle: Bundle) -> None:
    del bundle.records[bundle.result(CELL, "auto")["id"]]


def change_a_number(bundle: Bundle) -> None:
    metric = bundle.result(CELL, "clean")["metrics"]["accuracy"]
    metric["value"] = metric["low"] = metric["high"] = 0.999


def change_outcomes(bundle: Bundle) -> None:
    bundle.change_outcomes(CELL)


def swap_records(bundle: Bundle) -> None:
    """A better model's outcomes stand under a worse one's id too."""
    ours, theirs = bundle.result(CELL, "clean"), bundle.result(OTHER_CELL, "clean")
    ours["outcomes"] = json.loads(json.dumps(theirs["outcomes"]))
    bundle.derive(ours)


def weaken_eps(bundle: Bundle) -> None:
    record = bundle.result(CELL, "fgsm")
    options = {**record["asked"]["options"], "eps": 0.05}
    record["asked"] = {**record["asked"], "options": options}


def shorten_the_attack(bundle: Bundle) -> None:
    record = bundle.result(CELL, "auto")
    options = {**record["asked"]["options"], "steps": 1}
    record["asked"] = {**record["asked"], "options": options}


def mix_versions(bundle: Bundle) -> None:
    record = bundle.result(CELL, "fgsm")
    record["asked"] = {**record["asked"], "version": 1}


def relabel_outcomes(bundle: Bundle) -> None:
    """Outcomes that were unknown are packed as robust; what was computed of them stays."""
    record = bundle.result(CELL, "auto")
    name = next(name for name in record["outcomes"] if name.startswith("robust_accuracy"))
    values = unpack_outcomes(record["outcomes"][name])
    values[values.index(Outcome.BROKEN)] = Outcome.ROBUST
    record["outcomes"][name] = pack_outcomes(values)


def hide_unfinished_attacks(bundle: Bundle) -> None:
    """Of a result with many unknown outcomes, the checks say that every attack ended."""
    record = bundle.result(CELL, "auto")
    name = next(name for name in record["outcomes"] if name.startswith("robust_accuracy"))
    values = unpack_outcomes(record["outcomes"][name])
    values = [Outcome.UNKNOWN if value == Outcome.BROKEN else value for value in values]
    record["outcomes"][name] = pack_outcomes(values)
    for check in record["checks"]:
        if check["name"] in ("finished", "missed"):
            check |= {"grade": "pass", "value": 0.0}
    bundle.derive(record)


def raise_a_limit(bundle: Bundle) -> None:
    record = bundle.result(CELL, "auto")
    check = next(check for check in record["checks"] if check["name"] == "legal_examples")
    check |= {"value": 3, "limit": 5}


def lengthen_a_file(bundle: Bundle) -> None:
    """Nothing but the bytes of a file: a blank at the end of a text that no number rests on."""
    (bundle.path / "CITATION.cff").write_text("title: another\n")


def edit_a_checksum(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    manifest["files"]["CITATION.cff"]["sha256"] = "0" * 64
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest))


def edit_the_root(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest | {"root": "0" * 64}))


NAIVE: Mapping[str, tuple[Callable[[Bundle], None], str, str]] = {
    "drop a seed": (drop_a_seed, "plan.json", CELL),
    "drop a record": (drop_records, "records", f"{CELL}, auto"),
    "change a number": (change_a_number, "records/result.jsonl", f"{CELL}, clean"),
    "swap a record": (swap_records, "records/result.jsonl", f"{CELL}, clean, accuracy"),
    "weaken eps": (weaken_eps, "records/result.jsonl", f"{CELL}, fgsm"),
    "shorten the attack": (shorten_the_attack, "records/result.jsonl", f"{CELL}, auto"),
    "mix versions": (mix_versions, "records/result.jsonl", f"{CELL}, fgsm"),
    "unknown as robust": (relabel_outcomes, "records/result.jsonl", f"{CELL}, auto"),
    "unknown as finished": (hide_unfinished_attacks, "records/result.jsonl", f"{CELL}, auto"),
    "raise a limit": (raise_a_limit, "records/result.jsonl", f"{CELL}, auto"),
    "change outcomes": (change_outcomes, "records/result.jsonl", ""),
    "edit a file": (lengthen_a_file, "CITATION.cff", ""),
    "edit a checksum": (edit_a_checksum, "CITATION.cff", ""),
    "edit the root": (edit_the_root, MANIFEST_FILE, ""),
}


@pytest.mark.parametrize("name", NAIVE)
def test_naive_cheats_are_found_by_file_and_cell(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    cheat, where, cell = NAIVE[name]
    cheat(bundle)
    bundle.write()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert _names(found, where, cell)
    assert _names(found, "", ""), "a file without its digest"
    assert any(fault.where == MANIFEST_FILE or "sha256" in fault.text for fault in found.faults)


def _names(found: Verification, where: str, cell: str) -> bool:
    """Return whether a fault is in a file and about a cell; an empty text stands for any."""
    return any(
        fault.where.rpartition(":")[0] == where or fault.where == where or not where
        for fault in found.faults
        if fault.cell == cell or not cell
    )


def thorough_rename(cheat: Callable[[Bundle], None]) -> Callable[[Bundle], None]:
    """Return a cheat that also gives each record the id of what it now says it was asked."""

    def renamed(bundle: Bundle) -> None:
        cheat(bundle)
        for id, record in list(bundle.records.items()):
            if content_id(record["asked"]) != id:
                bundle.rename(id, record["asked"])

    return renamed


def drop_a_seed_everywhere(bundle: Bundle, *, of_sources: bool = True) -> None:
    """Two of three seeds: suite, plan and records agree."""
    text = (bundle.path / "suite.yaml").read_text()
    text = text.replace("{count: 3, paired: true}", "{count: 2, paired: true}")
    if of_sources:
        text = text.replace("seeds: 3", "seeds: 2")
        for id, label in list(bundle.plan["sources"].items()):
            if label.endswith("[seed=2]"):
                del bundle.plan["sources"][id], bundle.records[id]
    (bundle.path / "suite.yaml").write_text(text)
    for trial in [trial for trial in bundle.plan["trials"] if trial["seed"] == 2]:
        bundle.plan["trials"].remove(trial)
        for id in _record_ids(trial):
            battery = bundle.records.pop(id).get("battery")
            bundle.records.pop(str(battery), None)


def spoil_the_suite(bundle: Bundle) -> None:
    """A suite that gives no plan: three trainings cannot be paired with two seeds."""
    drop_a_seed_everywhere(bundle, of_sources=False)


def weaken_eps_everywhere(bundle: Bundle) -> None:
    text = (bundle.path / "suite.yaml").read_text()
    weaker = text.replace(
        "{use: foolbox/fgsm, norm: linf, eps: 0.1}", "{use: foolbox/fgsm, norm: linf, eps: 0.05}"
    )
    (bundle.path / "suite.yaml").write_text(weaker)
    for trial in list(bundle.plan["trials"]):
        record = bundle.result(bundle.name_of(trial), "fgsm")
        options = {**record["asked"]["options"], "eps": 0.05}
        bundle.rename(record["id"], {**record["asked"], "options": options})


def forge_class_shares(bundle: Bundle) -> None:
    """One result says that nearly any accuracy is above guessing."""
    bundle.result(CELL, "clean")["labels"]["largest_class"] = 1 / 269


def forge_weights(bundle: Bundle) -> None:
    bundle.result(CELL, "clean")["provenance"]["weights"]["model"] = "1" * 64


def forge_the_device(bundle: Bundle) -> None:
    bundle.result(CELL, "clean")["provenance"]["device"] = "cuda"


THOROUGH: Mapping[str, tuple[Callable[[Bundle], None], str]] = {
    "drop a seed": (drop_a_seed, CELL),
    "drop a seed, in the suite": (drop_a_seed_everywhere, "target digits_5_9"),
    "no plan": (spoil_the_suite, ""),
    "weaken eps": (thorough_rename(weaken_eps), CELL),
    "weaken eps, in the suite": (weaken_eps_everywhere, "evaluation fgsm"),
    "shorten the attack": (thorough_rename(shorten_the_attack), CELL),
    "mix versions": (thorough_rename(mix_versions), CELL),
    "unknown as finished": (hide_unfinished_attacks, f"{CELL}, auto"),
    "outcomes a second time": (swap_records, f"{CELL}, clean, accuracy"),
    "raise a limit": (raise_a_limit, f"{CELL}, auto"),
    "forge class shares": (forge_class_shares, f"{CELL}, clean"),
    "forge weights": (forge_weights, f"{CELL}, clean"),
    "forge the device": (forge_the_device, f"{CELL}, clean"),
}


@pytest.mark.parametrize("name", THOROUGH)
def test_thorough_cheats_that_ids_or_outcomes_show_are_found(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    cheat, cell = THOROUGH[name]
    cheat(bundle)
    for record in bundle.records.values():
        if record["kind"] == "result":
            bundle.derive(record)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert _names(found, "", cell), [str(fault) for fault in found.faults]
    assert not any(fault.where == MANIFEST_FILE for fault in found.faults)


@pytest.mark.parametrize("sealed", [False, True])
def test_reordered_records_are_found(
    sealed: bool, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    bundle.write(order=lambda ids: sorted(ids, reverse=True))
    if sealed:
        bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert any("expected the order of ids" in fault.text for fault in found.faults)
    assert sealed != any("sha256" in fault.text for fault in found.faults)


def test_a_thorough_change_of_outcomes_is_what_offline_checks_cannot_see(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    """The gap that the report states; if this fails, the report says too little."""
    bundle.change_outcomes(CELL)
    bundle.write()
    bundle.seal()

    assert [] == verify_bundle(bundle.path, boards=boards, host=host).faults


def test_the_command_prints_every_fault_and_ends_with_1(bundle: Bundle) -> None:
    honest = CliRunner().invoke(main, ["verify", str(bundle.path)])
    change_a_number(bundle)
    weaken_eps(bundle)
    bundle.write()
    cheated = CliRunner().invoke(main, ["verify", str(bundle.path)])

    assert (0, 1) == (honest.exit_code, cheated.exit_code)
    assert "verified: nothing is wrong" in honest.output
    assert f"{CELL}, clean: found accuracy value 0.999; expected" in cheated.output
    assert f"{CELL}, fgsm: found the id" in cheated.output


def test_a_battery_of_fewer_or_of_other_images_is_a_fault(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    battery, *others = (each for each in bundle.records.values() if each["kind"] == "battery")
    battery["positions"] = list(range(battery["of"] - 1))
    for name, packed in battery["outcomes"].items():
        battery["outcomes"][name] = pack_outcomes(unpack_outcomes(packed)[:-1])
    bundle.write()
    bundle.seal()
    texts = [fault.text for fault in verify_bundle(bundle.path, boards=boards, host=host).faults]

    assert "found 268 attacked images of 269; expected 269" in texts
    assert any(
        text.startswith(f"found other attacked images than those of {len(others)} batteries")
        for text in texts
    )


def test_older_batteries_and_other_code_of_a_plugin_are_told(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    assert not [
        note
        for note in verify_bundle(bundle.path, boards=boards, host=host).notes
        if "version 6" in note
    ]
    battery = next(each for each in bundle.records.values() if each["kind"] == "battery")
    bundle.rename(battery["id"], {**battery["asked"], "version": 6})
    source = next(each for each in bundle.records.values() if each["kind"] == "source")
    source["observed"]["code"] = {"vision": "0" * 64}
    bundle.write()
    bundle.seal()
    notes = " ".join(verify_bundle(bundle.path, boards=boards, host=host).notes)

    assert "batteries of version 6, which has other attacks than this release's: 1;" in notes
    assert "measured by other code of plugins than is installed here" in notes
