"""Distributions of others, installed beside the wheel: they keep the kit, run in a suite and change no result."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
import torch
from torch import nn

if TYPE_CHECKING:
    from tests.packaging.conftest import Environment

Records: TypeAlias = dict[str, str]
OTHERS = Path(__file__).parents[1] / "plugins_of_others"
DISTRIBUTIONS = ("secml_fmn", "robust_zoo", "timm_zoo", "sklearn_head", "lp_ft", "l2_sp")
NAME = "Madry2018Towards_Linf"
QUICKSTART = ["--only", "source=random*,n=20,seed=0"]

pytestmark = pytest.mark.slow

SUITE = """
version: 1
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  natural: {use: vision/trained, data: low, network: small_cnn, epochs: 5}
  zoo: {use: robust_zoo/model, name: Madry2018Towards_Linf, folder: zoo}
  timm: {use: timm_zoo/model, name: test_resnet, file: timm.pt, outputs: 10, images: [1, 8, 8]}
targets:
  digits_5_9: {data: high, n: [100], test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  full: {use: finetune/full, epochs: 20}
  sklearn: {use: sklearn_head/head}
  lp_ft: {use: lp_ft/lp_ft}
  l2_sp: {use: l2_sp/l2_sp, epochs: 20}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 40, step_size: 0.01}
  fmn: {use: secml/fmn, eps: 0.1}
leaderboard:
  baseline: natural
  rank_by: clean.accuracy
  columns: [clean.accuracy, pgd.robust_accuracy, fmn.robust_accuracy]
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the suite, beside a trained checkpoint for the zoo and an untrained one for timm."""
    import timm
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("suite")
    (folder / "zoo").mkdir()
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(OTHERS / "robust_zoo")
        zoo, networks = import_module("robust_zoo"), import_module("robust_zoo.networks")
        network = networks.build_network(zoo.ZOO[NAME])
    pixels, labels = (torch.as_tensor(each) for each in load_digits(return_X_y=True))
    images = pixels.float().view(-1, 1, 8, 8) / 16
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(images), labels))
        optimizer.step()
    torch.save(network.state_dict(), folder / "zoo" / f"{NAME}.pt")
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    torch.save(model.state_dict(), folder / "timm.pt")
    (folder / "suite.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return copies of the distributions, since building one writes into its folder."""
    folder = tmp_path_factory.mktemp("distributions")
    return [Path(shutil.copytree(OTHERS / name, folder / name)) for name in DISTRIBUTIONS]


@pytest.fixture(scope="module")
def before(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Return a part of the quickstart's records, made before any of them was installed."""
    return quickstart_records(installed, tmp_path_factory.mktemp("before"), cache="before")


@pytest.fixture(scope="module")
def together(before: Records, installed: Environment, copies: list[Path]) -> Environment:
    """Return the environment with all of the distributions; where SecML-Torch is absent, tests skip."""
    spec = find_spec("secmlt")
    if spec is None or spec.origin is None:
        pytest.skip("needs secml-torch: pip install --no-deps 'secml-torch>=1.5'")
    site = next(installed.folder.glob("lib/python*/site-packages"))
    (site / "secml.pth").write_text(f"{Path(spec.origin).parents[1]}\n")
    installed.install(*copies)
    return installed


def quickstart_records(environment: Environment, runs: Path, *, cache: str) -> Records:
    """Return what two trials of the quickstart record, without `observed`, by the name of the file."""
    environment("advtransfer", "run", "quickstart", "--runs", str(runs), *QUICKSTART, cache=cache)
    records = {}
    for path in (runs / "quickstart" / "records").glob("*/*.json"):
        record = json.loads(path.read_text())
        del record["observed"]
        records[path.name] = json.dumps(record, sort_keys=True)
    return records


@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("secml", []),
        ("secml/fmn", ["norm=l2", "eps=0.5"]),
        ("robust_zoo/model", [f"name={NAME}", "folder=zoo"]),
        ("timm_zoo/model", ["name=test_resnet", "file=timm.pt", "outputs=10", "images=[1, 8, 8]"]),
        ("sklearn_head", []),
        ("sklearn_head/head", ["kernel=rbf", "classifier=svm"]),
        ("lp_ft", []),
        ("l2_sp", []),
    ],
)
def test_plugin_keeps_the_kit(
    together: Environment, suite: Path, plugin: str, options: list[str]
) -> None:
    printed = together("advtransfer", "check", plugin, *options, cwd=str(suite))

    assert " 0 broken" in printed


def test_plugins_run_in_a_suite_beside_built_ins(together: Environment, suite: Path) -> None:
    ended = json.loads(together("advtransfer", "run", "suite.yaml", "--json", cwd=str(suite)))
    exported = together(
        "advtransfer", "export", "runs/suite", "--format", "json", "--out", "-", cwd=str(suite)
    )
    shares = {
        (row["source"], row["transfer"], row["evaluation"]): row["value"]
        for row in json.loads(exported)
        if row["metric"].startswith(("accuracy", "robust_accuracy"))
    }
    cells = {cell[:2] for cell in shares}

    assert (ended["done"], ended["failed"], ended["skipped"], ended["todo"]) == (15, 0, 0, 0)
    assert len(cells) == 15
    assert all(shares[*cell, "clean"] > 0.4 for cell in cells)
    # Of 60 images: logistic regressions of two libraries, and two attacks at one eps.
    for source in ("natural", "zoo", "timm"):
        difference = shares[source, "sklearn", "clean"] - shares[source, "probe", "clean"]
        assert abs(difference) < 0.1
    assert all(abs(shares[*cell, "fmn"] - shares[*cell, "pgd"]) < 0.1 for cell in cells)


def test_quickstart_is_the_same_with_and_without_them(
    before: Records, together: Environment, tmp_path: Path
) -> None:
    beside = quickstart_records(together, tmp_path / "beside", cache="beside")
    names = [f"advtransfer-{name.replace('_', '-')}" for name in DISTRIBUTIONS]
    together("python", "-m", "pip", "uninstall", "--quiet", "--yes", *names)
    after = quickstart_records(together, tmp_path / "after", cache="after")

    assert len(before) >= 10
    assert beside == before
    assert after == before
