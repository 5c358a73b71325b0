from __future__ import annotations

import subprocess
import sys

from advtransfer.host import Host
from advtransfer.suite import load, shipped_suites

LIGHT = """\
import sys
from advtransfer.host import Host
from advtransfer.suite import load, suite_schema
suite = load("quickstart", Host.discover())
suite_schema(Host.discover())
print([name for name in ("torch", "numpy", "sklearn", "foolbox", "matplotlib") if name in sys.modules])
"""


SOURCES = ("natural", "linf 0.1", "linf 0.2", "random")


def test_quickstart_is_shipped() -> None:
    assert shipped_suites()["quickstart"].is_file()


def test_quickstart_has_the_axes_that_its_head_promises() -> None:
    suite = load("quickstart", Host.discover())

    assert (suite.name, suite.title) == (
        "quickstart",
        "Do robust source models transfer better from few labels?",
    )
    trainings = [f"{name}[seed={seed}]" for name in SOURCES for seed in range(3)]
    assert [cell.label for cell in suite.sources] == trainings
    assert [len(target.subsets) for target in suite.targets] == [6]
    assert [cell.label for cell in suite.transfers] == ["probe", "block1"]
    assert [cell.label for cell in suite.evaluations] == ["clean", "fgsm", "auto"]
    assert suite.leaderboard.columns == ("clean.accuracy", "fgsm.accuracy", "auto.robust_accuracy")
    assert suite.text == shipped_suites()["quickstart"].read_text(encoding="utf-8")


def test_suite_and_the_schema_need_no_heavy_library() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True
    )

    assert completed.stdout == "[]\n"
