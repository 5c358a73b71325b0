"""Side effects on the state of the process and on hidden state of a model."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as all_modules
from torch.utils.data import DataLoader, TensorDataset

from advtransfer.worker.guards.interpreter_state import InterpreterState
from advtransfer.worker.guards.side_effects import LatestNamespaces, guard_side_effects


class Small(nn.Module):
    """A network with an attribute of its own, and a cache that its forward pass fills."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        self.scale = 2.0
        self.last: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.last = self.scale * self.body(inputs)
        return self.last


INPUTS = torch.linspace(-1, 1, 6).view(2, 3)


def replaced(owner: object, name: str, by: Callable[..., object]) -> None:
    setattr(owner, name, by)


KEPT: list[Any] = []  # Any: what a plugin keeps alive


def hooks(model: Small) -> None:
    model.body[2].register_forward_hook(lambda module, inputs, outputs: -outputs)


def backward_hooks(model: Small) -> None:
    model.body[0].register_full_backward_hook(lambda module, inputs, outputs: None)


def patches_forward(model: Small) -> None:
    model.body[0].forward = lambda inputs: torch.zeros(2, 4)


def changes_scale(model: Small) -> None:
    model.scale = -2.0


def changes_class(model: Small) -> None:
    model.body[1].__class__ = nn.Sigmoid


def exchanges_hooks(model: Small) -> None:
    vars(model)["_forward_hooks"] = {0: lambda *some: torch.zeros(2, 2)}


def patches_class(model: Small) -> None:
    replaced(nn.Linear, "forward", lambda self, inputs: torch.zeros(2, self.out_features))


def hides_a_method_of_all_modules(model: Small) -> None:
    replaced(nn.ReLU, "__call__", lambda self, inputs: inputs)


def patches_functional(model: Small) -> None:
    replaced(functional, "relu", functional.silu)


def patches_tensor(model: Small) -> None:
    replaced(torch.Tensor, "argmax", lambda self, *rest, **more: torch.tensor(0))


def patches_torch(model: Small) -> None:
    before = torch.load
    replaced(torch, "load", wraps(before)(lambda *some, **more: before(*some, **more)))


class SaysItIsEqual:
    """A wrapper that compares equal to what it wraps, as those of `wrapt` do."""

    def __init__(self, wrapped: object) -> None:
        self.wrapped = wrapped

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * 0

    def __eq__(self, other: object) -> bool:
        return other is self.wrapped

    def __hash__(self) -> int:
        return hash(self.wrapped)


def wraps_functional(model: Small) -> None:
    replaced(functional, "relu", SaysItIsEqual(functional.relu))


def patches_numpy(model: Small) -> None:
    replaced(np, "mean", np.max)


def hooks_all(model: Small) -> None:
    all_modules.register_module_forward_hook(lambda module, inputs, outputs: outputs * 0)


def stops_gradients(model: Small) -> None:
    torch.no_grad().__enter__()


def enters_a_device(model: Small) -> None:
    torch.device("meta").__enter__()


def infers(model: Small) -> None:
    KEPT.append(torch.inference_mode())
    KEPT[-1].__enter__()


def starts_a_thread(model: Small) -> None:
    threading.Thread(target=time.sleep, args=(2.0,), daemon=True, name="seeder").start()


LEAVES: list[tuple[Callable[[Small], object], str]] = [
    (hooks, "hooks of the model were changed"),
    (backward_hooks, "hooks of the model were changed"),
    (exchanges_hooks, "hooks of the model were changed"),
    (patches_forward, "attributes of the model were changed: Linear.forward"),
    (changes_scale, "attributes of the model were changed: Small.scale"),
    (changes_class, "attributes of the model were changed: ReLU.__class__"),
    (patches_class, "torch.nn.modules.linear.Linear.forward was replaced"),
    (hides_a_method_of_all_modules, "torch.nn.modules.activation.ReLU.__call__ was replaced"),
    (patches_functional, "torch.nn.functional.relu was replaced"),
    (wraps_functional, "torch.nn.functional.relu was replaced"),
    (patches_tensor, "torch.Tensor.argmax was replaced"),
    (patches_torch, "torch.load was replaced"),
    (patches_numpy, "numpy.mean was replaced"),
    (hooks_all, "hooks of all modules were changed"),
    (stops_gradients, "grad mode was changed (True to False)"),
    (infers, "inference mode was changed (False to True)"),
    (enters_a_device, "the default device was changed (cpu to meta)"),
    (
        lambda model: torch.set_default_device("meta"),
        "the default device was changed (cpu to meta)",
    ),
    (lambda model: torch.set_default_dtype(torch.float64), "the default dtype was changed"),
    (
        lambda model: torch.set_num_threads(torch.get_num_threads() + 1),
        "the number of threads was changed",
    ),
    (
        lambda model: torch.use_deterministic_algorithms(True, warn_only=True),
        "deterministic algorithms was changed",
    ),
    (lambda model: torch.set_flush_denormal(True), "flushing of small numbers was changed"),
    (lambda model: np.seterr(all="raise"), "NumPy's handling of errors was changed"),
    (lambda model: torch.manual_seed(48_217), "global random state was used: torch"),
    (lambda model: np.random.seed(0), "global random state was used: numpy"),
    (lambda model: random.seed(0), "global random state was used: random"),
]


def outputs_of(model: Small) -> list[list[float]]:
    logits = model(INPUTS)
    return [[round(value, 4) for value in row] for row in functional.relu(logits).tolist()]


INTERPRETER: list[tuple[Callable[[Small], object], str]] = [
    (lambda model: os.environ.pop("PATH"), "environment variables were changed: PATH"),
    (
        lambda model: os.environ.update(OMP_NUM_THREADS="64", ADDED="1"),
        "environment variables were changed: ADDED, OMP_NUM_THREADS",
    ),
    (lambda model: warnings.simplefilter("ignore"), "warning filters were changed"),
    (lambda model: warnings.resetwarnings(), "warning filters were changed"),
    (
        lambda model: signal.signal(signal.SIGINT, lambda *_: None),
        "the handler of SIGINT was changed",
    ),
    (lambda model: sys.setrecursionlimit(10_000), "the recursion limit was changed"),
]
"""What a piece of code leaves in the interpreter."""


@pytest.mark.parametrize(("leave", "words"), INTERPRETER, ids=[words for _, words in INTERPRETER])
def test_changes_of_the_interpreter_are_undone_and_spoil_no_result(
    leave: Callable[[Small], object], words: str
) -> None:
    model, interpreter = Small().eval(), InterpreterState.capture()
    with guard_side_effects(model) as found:
        leave(model)

    assert any(change.startswith(words) for change in found.undone), found.undone
    assert found.all_changes == tuple(found.undone)
    assert [] == found.lasting
    assert [] == interpreter.list_changes()


@pytest.mark.parametrize("fits", [False, True], ids=["measured", "fitted"])
@pytest.mark.parametrize(("leave", "words"), LEAVES, ids=[words for _, words in LEAVES])
def test_side_effects_are_reported_and_undone(
    leave: Callable[[Small], object], words: str, fits: bool
) -> None:
    model = Small().eval()
    before, draw = outputs_of(model), torch.get_rng_state()
    with guard_side_effects(model, draws=fits, fits=fits) as found:
        leave(model)

    if fits and leave is changes_scale:  # a fit may set what its model computes with
        assert [] == found.changed
        return
    assert any(change.startswith(words) for change in found.changed), found.changed
    assert found.lasting
    assert before == outputs_of(model)
    assert torch.float32 == torch.ones(1).dtype
    assert torch.equal(draw, torch.get_rng_state())
    assert (torch.ones(1, requires_grad=True) * 2).requires_grad
    with guard_side_effects(model) as again:
        outputs_of(model)
    assert [] == again.changed


def test_guards_of_one_job_protect_classes_that_an_earlier_one_saw_defined() -> None:
    latest = LatestNamespaces()
    with guard_side_effects(None, latest=latest):

        class Doubling(nn.Module):
            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return 2 * inputs

    with guard_side_effects(None, latest=latest) as honest:
        Doubling()(INPUTS)
    with guard_side_effects(None, latest=latest) as found:
        replaced(Doubling, "forward", lambda self, inputs: inputs)

    assert [] == honest.changed
    assert [f"{__name__}.{Doubling.__qualname__}.forward was replaced"] == found.changed
    assert torch.equal(2 * INPUTS, Doubling()(INPUTS))


def test_a_method_that_got_another_name_is_reported() -> None:
    class Doubling(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * inputs

    with guard_side_effects(None) as found:
        method = Doubling.forward
        del Doubling.forward
        replaced(Doubling, "backward", method)

    assert [f"{__name__}.{Doubling.__qualname__}.forward was replaced"] == found.changed
    assert torch.equal(2 * INPUTS, Doubling()(INPUTS))


def test_a_guard_inside_another_reports_a_patch_alone() -> None:
    latest = LatestNamespaces()
    with guard_side_effects(None, latest=latest) as outer:
        with guard_side_effects(None, latest=latest) as inner:
            replaced(functional, "relu", functional.silu)
        with guard_side_effects(None, latest=latest) as after:
            functional.relu(INPUTS)

    assert ["torch.nn.functional.relu was replaced"] == inner.changed
    assert [] == after.changed == outer.changed
    assert 0 == functional.relu(INPUTS).min()


def test_a_limit_that_torch_s_compiler_raises_stays() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1500)
    try:
        with guard_side_effects(None) as found:
            sys.setrecursionlimit(2000)

        assert () == found.all_changes
        assert 2000 == sys.getrecursionlimit()
    finally:
        sys.setrecursionlimit(before)


def test_running_thread_is_reported() -> None:
    model = Small()
    with guard_side_effects(None) as found:
        starts_a_thread(model)

    assert ["the thread 'seeder' was left running"] == found.running_threads == found.changed


def compiles(model: Small) -> None:
    torch.compile(model.body, backend="eager")(INPUTS)


def keeps_a_pool(model: Small) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(2)
    pool.submit(time.sleep, 0).result()
    KEPT.append(pool)


def imports_libraries(model: Small) -> None:
    import eagerpy  # noqa: F401
    import foolbox  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torchvision  # noqa: F401


def defines_modules(model: Small) -> None:
    class Other(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs

    torch.answer = Other()(INPUTS)  # type: ignore[attr-defined]  # a library that adds a name
    handle = model.body.register_forward_hook(lambda *some: None)
    model(INPUTS)
    handle.remove()


def imports_a_library_that_adds_its_own(model: Small) -> None:
    os.environ["ITS_OWN"] = "1"
    warnings.filterwarnings("ignore", module="its_own")
    sys.modules["its_own"] = sys


def keeps_warnings_to_itself(model: Small) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")


def compiles_as_inductor(model: Small) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = "there"
    sys.setrecursionlimit(2000)


def traces(model: Small) -> None:
    torch.jit.trace(model.body, INPUTS)  # type: ignore[no-untyped-call]  # torch leaves it without annotations


def loads_in_processes(model: Small) -> None:
    images = TensorDataset(INPUTS)
    list(DataLoader(images, num_workers=1, generator=torch.Generator()))


@pytest.fixture
def kept_interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what an honest act leaves."""
    for name in ("ITS_OWN", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is removed at the end
        monkeypatch.delenv(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of tracing
        yield
    sys.modules.pop("its_own", None)


@pytest.mark.usefixtures("kept_interpreter")
@pytest.mark.parametrize(
    "act",
    [
        outputs_of,
        compiles,
        keeps_a_pool,
        imports_libraries,
        defines_modules,
        imports_a_library_that_adds_its_own,
        keeps_warnings_to_itself,
        compiles_as_inductor,
        traces,
        loads_in_processes,
    ],
)
@pytest.mark.parametrize("fits", [False, True], ids=["measured", "fitted"])
def test_honest_use_has_no_side_effects(act: Callable[[Small], object], fits: bool) -> None:
    model = Small().eval()
    with guard_side_effects(model, draws=fits, fits=fits) as found:
        act(model)

    assert [] == found.changed


@pytest.mark.parametrize(
    ("draw", "name"),
    [(random.random, "random"), (np.random.rand, "numpy"), (lambda: torch.rand(1), "torch")],
)
@pytest.mark.parametrize("times", [1, 2000])
def test_drawing_and_seeding_are_distinguished(
    draw: Callable[..., object], name: str, times: int
) -> None:
    with guard_side_effects(None) as found:
        for _ in range(times):
            draw()

    assert [f"global random state was used: {name}"] == found.changed
    assert [] == found.lasting
    with guard_side_effects(None, draws=True) as found:
        draw()
    assert [] == found.changed


def test_fit_may_train_and_draw_weights() -> None:
    model, state = Small(), torch.get_rng_state()
    with guard_side_effects(model, draws=True, fits=True) as found:
        model.body[2] = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model(functional.dropout(INPUTS)).sum().backward()
        optimizer.step()

    assert [] == found.changed
    assert torch.equal(state, torch.get_rng_state())


def test_builders_may_seed_before_they_draw() -> None:
    before = torch.get_rng_state()
    with guard_side_effects(None, draws=True) as found:
        torch.manual_seed(48_217)
        torch.rand(3)

    assert ([], []) == (found.changed, found.lasting)
    assert torch.equal(before, torch.get_rng_state())


def test_a_forked_child_does_not_go_on_with_the_job() -> None:
    code = """
import os
from advtransfer.worker.guards.side_effects import guard_side_effects

with guard_side_effects(None):
    child = os.fork()
print("goes on", flush=True)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ("goes on\n", 0) == (done.stdout, done.returncode)
