"""What the hooks of plugins are told of a run: plain data, as in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from advtransfer.planning import Plan
from advtransfer.result import Run
from advtransfer.runner.run_folder import run_identity
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Json


def run_facts(plan: Plan, folder: Run, settings: RunSettings) -> dict[str, Json]:
    """Return the identity of a run and its settings; the id stays when the run is continued."""
    return {
        "id": run_identity(folder),
        "suite": plan.suite,
        "title": plan.title,
        "folder": str(folder.path.resolve()),
        "device": settings.device,
        "threads": settings.threads,
        "precision": settings.precision,
        "trials": len(plan.trials),
    }


def run_files(plan: Plan, folder: Run) -> list[dict[str, Json]]:
    """Return the files of a run: the page, its figures, and the files of evaluations.

    A file of a result that several trials share is listed with the first of them.
    """
    root = folder.path.resolve()
    page = root / "leaderboard.md"
    files: list[dict[str, Json]] = []
    if page.is_file():
        files.append({"kind": "page", "name": page.name, "path": str(page)})
    for path in sorted([*root.glob("*.svg"), *root.glob("figures/*.png")]):
        files.append({"kind": "figure", "name": path.name, "path": str(path)})
    listed: set[str] = set()
    for trial in plan.trials:
        for evaluation, ids in trial.evaluations.items():
            for id in ids:
                if id in listed or not folder.has_record(id):
                    continue
                listed.add(id)
                named = cast("Mapping[str, Json]", folder.read_record(id).get("files") or {})
                for name in sorted(named):
                    files.append(
                        {
                            "kind": "file",
                            "name": name,
                            "path": str(root / str(named[name])),
                            "trial": trial.id,
                            "evaluation": evaluation,
                            "record": id,
                        }
                    )
    return files
