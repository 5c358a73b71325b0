"""The plugins of others compute what their papers and libraries say, and clashes between plugins are named."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advtransfer.errors import PluginError
from advtransfer.host import Host
from advtransfer.host.plugin import Plugin
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.testing.kit import CheckFailed, plugin_checks
from advtransfer.testing.kit.specimen import frozen_network
from advtransfer.toolkit.datasets import ArrayDataset, all_positions
from advtransfer.types import EvaluationInputs, File, Folder, Outcome

HERE = Path(__file__).parent
MODULES = ("secml_fmn", "robust_zoo", "timm_zoo", "sklearn_head", "lp_ft", "l2_sp")
needs_secml = pytest.mark.skipif(
    find_spec("secmlt") is None,
    reason="needs secml-torch: pip install --no-deps 'secml-torch>=1.5'",
)


@pytest.fixture(scope="module", autouse=True)
def modules_of_others() -> Iterator[None]:
    folders = [str(HERE / name) for name in (*MODULES, "broken")]
    sys.path[:0] = folders
    invalidate_caches()
    yield
    for folder in folders:
        sys.path.remove(folder)


def factory_of(module: str, name: str) -> Any:  # noqa: ANN401  # Any: mypy sees no types of a stranger's
    return getattr(import_module(module), name)


# Any: as above.
def fit_toy(module: str, name: str, **options: object) -> tuple[Any, Any]:
    """Return a fitted model of the toy data, and what its transfer says of it."""
    train = toy(classes=3, train=48, test=24, shape=(1, 8, 8)).part("train")
    transfer = factory_of(module, name)(**options)
    source = frozen_network()
    model = transfer.model(source=source, adapter=None, target=train.card)
    fitted = transfer.fit(
        model, source=source, adapter=None, train=train, validation=None, context=InMemoryContext(0)
    )
    return model.eval(), fitted


def plane() -> nn.Sequential:
    """Return ``w . x`` of 4 x 4 images as two logits, with weights of two sizes."""
    linear = nn.Linear(16, 2)
    with torch.no_grad():
        weights = torch.linspace(0.5, 1.5, 16)
        linear.weight.copy_(torch.stack([-weights, weights]) / 2)
        linear.bias.copy_(torch.tensor([0.5, -0.5]) * weights.sum() / 2)
    return nn.Sequential(nn.Flatten(), linear).requires_grad_(False)


@needs_secml
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2.0), ("linf", 1.0)])
def test_fmn_finds_the_distances_to_a_plane(norm: str, dual: float) -> None:
    model = plane()
    images = 0.4 + 0.2 * torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    margins = model(images).diff().flatten()
    labels = (margins > 0).long()
    test = ArrayDataset({"train": (images, labels), "test": (images, labels)}, names=["a", "b"])
    exact = margins.abs() / torch.linspace(0.5, 1.5, 16).norm(p=dual)
    eps = float(exact.double().quantile(0.6))
    measured = factory_of("secml_fmn", "fmn")(norm=norm, eps=eps, steps=200).measure(
        EvaluationInputs(test=test.part("test"), model=model), context=InMemoryContext(0)
    )

    distances = measured.samples["distance"]
    assert bool((distances >= exact.double() - 1e-6).all())
    # Its last step has the length 0.01, which it cannot come nearer by.
    assert bool((distances <= 1.05 * exact.double() + 0.01).all())
    (outcomes,) = measured.outcomes.values()
    assert torch.equal(outcomes == Outcome.BROKEN, distances <= eps)
    assert 10 <= int((outcomes == Outcome.BROKEN).sum()) <= 18


@pytest.mark.parametrize("name", ["Standard", "Residual_Linf"])
def test_zoo_model_computes_what_its_checkpoint_says(tmp_path: Path, name: str) -> None:
    zoo, networks = import_module("robust_zoo"), import_module("robust_zoo.networks")
    torch.manual_seed(3)
    original = networks.build_network(zoo.ZOO[name]).eval()
    torch.save(original.state_dict(), tmp_path / f"{name}.pt")
    source = zoo.model(name=name, folder=Folder(tmp_path, "0" * 64))
    network = source.network().eval()
    network.load_state_dict(source.weights(InMemoryContext(0)).tensors)
    images = torch.rand(3, 1, 8, 8)

    assert torch.equal(network(images), original(images))
    assert source.card().constraint == zoo.ZOO[name].constraint


def test_timm_model_computes_what_timm_computes(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    original = timm.create_model("test_resnet", num_classes=5).eval()
    torch.save(original.state_dict(), tmp_path / "net.pt")
    file = File(tmp_path / "net.pt", "0" * 64)
    source = factory_of("timm_zoo", "model")(
        name="test_resnet", file=file, outputs=5, images=(3, 32, 32)
    )
    network = source.network().eval()
    network.load_state_dict(source.weights(InMemoryContext(0)).tensors)
    images = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(original.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std")
    )

    torch.testing.assert_close(network(images), original((images - mean) / std))


@pytest.mark.parametrize("classifier", ["logistic", "ridge", "svm"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_head_computes_what_scikit_learn_computes(
    classifier: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = import_module("sklearn_head.transfer")
    estimator = transfer.CLASSIFIERS[classifier]()
    monkeypatch.setitem(transfer.CLASSIFIERS, classifier, lambda: estimator)
    sampler = transfer.RBFSampler()
    monkeypatch.setattr(transfer, "RBFSampler", lambda **options: sampler.set_params(**options))
    model, _ = fit_toy("sklearn_head", "head", classifier=classifier, kernel=kernel)
    samples = toy(classes=3, train=48, test=24, shape=(1, 8, 8)).part("test")
    images = samples.inputs(all_positions(samples)).requires_grad_(True)
    logits = model(images)
    rows = ((model.features(images) - model.mean) / model.std).detach().double().numpy()
    if kernel == "rbf":
        rows = sampler.transform(rows)
    expected = torch.as_tensor(estimator.decision_function(rows)).float()

    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits.sum(0)[0], images)
    assert float(gradient.abs().max()) > 0


def test_fine_tuning_after_a_probe_begins_where_the_probe_ended() -> None:
    probed, first = fit_toy("lp_ft", "lp_ft", probe_epochs=20, epochs=0, probe_lr=0.05)
    _, both = fit_toy("lp_ft", "lp_ft", probe_epochs=20, epochs=4, probe_lr=0.05)
    source = frozen_network()

    state = probed[1].network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    assert list(both.curves[:20]) == list(first.curves)
    losses = [row["train_loss"] for row in both.curves]
    assert losses[20] < 1.1 * losses[19] < losses[0]
    assert losses[-1] < losses[20]
    assert [row["epoch"] for row in both.curves] == list(range(1, 25))


def test_starting_point_tuning_keeps_nearer_for_a_larger_alpha() -> None:
    distances = [
        fit_toy("l2_sp", "l2_sp", alpha=alpha, epochs=5)[1].facts["distance_from_source"]
        for alpha in (0.0, 1.0, 50.0)
    ]

    assert distances[0] > distances[1] > 5 * distances[2] > 0


def test_starting_point_loss_is_equation_4() -> None:
    body, head = nn.Linear(4, 3), nn.Linear(3, 2)
    loss = import_module("l2_sp.transfer").StartingPointLoss([body], head, 0.6, 0.2)
    with torch.no_grad():
        for weight in body.parameters():
            weight.add_(0.5)
    model, images, labels = nn.Sequential(body, head), torch.rand(5, 4), torch.arange(5) % 2
    ((value, logits),) = loss(model, images, labels, torch.Generator())
    norm = sum(weight.square().sum().item() for weight in head.parameters())
    entropy = nn.functional.cross_entropy(logits, labels).item()

    assert value.item() == pytest.approx(entropy + 0.3 * 15 * 0.25 + 0.1 * norm, rel=1e-5)


@pytest.mark.parametrize("module", MODULES)
def test_plugin_of_another_has_at_most_eighty_lines_of_code(module: str) -> None:
    paths = sorted((HERE / module / module).glob("*.py"))

    assert 20 < sum(count_code_lines(path.read_text()) for path in paths) <= 80


def count_code_lines(text: str) -> int:
    """Return the number of lines without blank ones, comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    positions: set[int] = set()
    for node in ast.walk(tree):
        first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if first and last:
            positions |= {first, last}
    return len(positions)


def test_factories_of_one_name_in_two_plugins_are_two_components() -> None:
    host = Host([Plugin(name, name, name, "1.0") for name in ("robust_zoo", "timm_zoo")])

    names = {component.name for component in host.components("source")}
    assert names == {"robust_zoo/model", "timm_zoo/model"}
    options = {name: set(host.component(name).options.fields) for name in sorted(names)}
    assert options == {
        "robust_zoo/model": {"name", "folder"},
        "timm_zoo/model": {"name", "file", "outputs", "images"},
    }


def test_one_plugin_name_in_two_distributions_is_named_with_both() -> None:
    both = [Plugin("zoo", module, module, "1.0") for module in ("robust_zoo", "timm_zoo")]

    with pytest.raises(PluginError, match=r"robust_zoo 1\.0, timm_zoo 1\.0"):
        Host(both).load_plugin("zoo")


def test_tensor_option_and_torch_at_module_level_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (HERE / "lp_ft" / "lp_ft" / "__init__.py").read_text()
    wrong = text.replace("epochs: Annotated[int, Ge(0)] = 20", "epochs: torch.Tensor | None = None")
    assert wrong != text
    (tmp_path / "tensor_option.py").write_text(
        wrong.replace("from typing import Annotated", "import torch\nfrom typing import Annotated")
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    host = Host([Plugin("wrong", "tensor_option", "wrong", "1.0")])

    with pytest.raises(PluginError, match=r"plugin 'wrong': 'lp_ft'.* option 'epochs' .*Tensor"):
        host.load_plugin("wrong")
    loads_lightly = plugin_checks(
        Host([Plugin("heavy", "advtransfer_heavy", "heavy", "1.0")]), "heavy"
    )[1]
    with pytest.raises(CheckFailed, match="torch imported with advtransfer_heavy"):
        loads_lightly()
