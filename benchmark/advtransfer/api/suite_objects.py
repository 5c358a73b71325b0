"""Objects in memory in a suite: they become entries, merged over the suite before it is read.

Everything after that is as for a suite file. Arrays become the file of a ``vision/npz``. A module with
`rebuild` becomes the files of a ``vision/module``: the code of its factory, and its weights. Any other
module becomes a ``local/module`` with a nonce, drawn for one call, so that nothing that the call
records or caches is ever taken for the result of another.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from advtransfer.api.arrays import DatasetInMemory
from advtransfer.api.in_memory import (
    SourceInMemory,
    all_tensors,
    code_file,
    hook_problems,
    package_of,
    state_digest,
)
from advtransfer.api.source_shapes import LoadSuite, data_entry, source_node, source_shapes
from advtransfer.errors import AdvTransferError, BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.runner import RunSettings
from advtransfer.suite import Suite
from advtransfer.text import error_text, type_text
from advtransfer.types import Json, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advtransfer.executors.in_memory import ModuleInMemory


INPUTS_FOLDER = ".inputs"
"""The folder below that of all runs with the files of objects in memory, named by content."""
NO_SOURCES: Mapping[str, SourceInMemory] = {}
NO_DATASETS: Mapping[str, DatasetInMemory] = {}
POOL, INLINE = "local/pool", "local/inline"


@dataclass(frozen=True, slots=True)
class PlacedObjects:
    """A suite with objects in memory as entries.

    Attributes:
        suite: The suite.
        settings: The settings to run it with.
        modules: The modules that this process must hold meanwhile, by nonce.
    """

    suite: Suite
    settings: RunSettings
    modules: Mapping[str, ModuleInMemory] = field(default_factory=dict)


@contextmanager
def suite_with_objects(
    load: LoadSuite,
    *,
    sources: Mapping[str, SourceInMemory],
    datasets: Mapping[str, DatasetInMemory],
    settings: RunSettings,
    host: Host,
) -> Iterator[PlacedObjects]:
    """Yield a suite with objects in memory as entries, and the settings to run it with.

    Inside, modules that cannot be rebuilt exist in this process. A run with one of them stays in this
    process, and its artifacts are in a cache of its own, deleted at the end.

    Args:
        load: Reads the suite with entries merged over it; an entry replaces one of its name.
        sources: The sources in memory, by the name of their entry.
        datasets: The data sets in memory, likewise.
        settings: The settings of the call.
        host: The plugins.

    Raises:
        BadInput: Names every object that cannot be used, or the suite has mistakes.
    """
    if not sources and not datasets:
        yield PlacedObjects(load({}), settings)
        return
    _require_usable(sources, datasets)
    folder = settings.runs / INPUTS_FOLDER
    entries: dict[str, dict[str, Json]] = {"datasets": {}, "sources": {}}
    entries["datasets"] |= {name: value.write_entry(folder) for name, value in datasets.items()}
    shapes = source_shapes(load, entries, sources, folder, host)
    modules: dict[str, ModuleInMemory] = {}

    def add_entry(name: str, value: SourceInMemory) -> None:
        if value.is_rebuilt:
            entries["sources"][name] = _rebuilt_entry(name, value, shapes[name], folder)
            return
        nonce = secrets.token_hex(16)
        modules[nonce] = module = _module_in_memory(name, value, shapes[name])
        entries["sources"][name] = _module_entry(nonce, module, value, folder)

    _with_each_source(add_entry, sources)
    suite = load(entries)

    def check_outputs(name: str, value: SourceInMemory) -> None:
        if value.is_rebuilt:
            _require_same_outputs(name, value, shapes[name], suite, host)

    _with_each_source(check_outputs, sources)
    if not modules:
        yield PlacedObjects(suite, settings)
        return
    from advtransfer.executors.in_memory import hold_modules

    with hold_modules(modules), _own_cache(settings) as own_settings:
        yield PlacedObjects(suite, own_settings, modules)


def _with_each_source(
    act: Callable[[str, SourceInMemory], None], sources: Mapping[str, SourceInMemory]
) -> None:
    """Do something with every source.

    Raises:
        BadInput: Names the problems of all sources.
    """
    problems: list[Problem] = []
    for name, value in sources.items():
        try:
            act(name, value)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def _require_usable(
    sources: Mapping[str, SourceInMemory], datasets: Mapping[str, DatasetInMemory]
) -> None:
    """Check kinds, hooks and weights of all objects.

    Raises:
        BadInput: An object is of another kind, or a module was changed since it was given.
    """
    problems: list[Problem] = []
    for argument, objects in (("sources", sources), ("datasets", datasets)):
        if not isinstance(objects, Mapping):
            found = f"{argument}={type_text(objects)}"
            next_step = f"write {argument}={{'mine': ...}}"
            problems.append(Problem(found, "a mapping of names to objects", next_step))
    if problems:
        raise BadInput(problems)
    for name, data in datasets.items():
        if not isinstance(data, DatasetInMemory):
            found = f"datasets={{{name!r}: {type_text(data)}}}"
            problems.append(Problem(found, "advtransfer.dataset(...)", "write it so"))
    for name, value in sources.items():
        if not isinstance(value, SourceInMemory):
            found = f"sources={{{name!r}: {type_text(value)}}}"
            problems.append(Problem(found, "advtransfer.source(module)", "write it so"))
            continue
        for problem in hook_problems(value.module):
            problems.append(replace(problem, found=f"{problem.found} of the source {name!r}"))
        # Without rebuild, the module is used as it is now, under a new nonce.
        if value.is_rebuilt and state_digest(value.module) != value.state:
            found = f"weights of the source {name!r} that have changed since it was given"
            expected = "the weights that advtransfer.source was called with"
            problems.append(Problem(found, expected, "call advtransfer.source again"))
    if problems:
        raise BadInput(problems)


# --- modules that cannot be rebuilt ---


def _module_entry(
    nonce: str, module: ModuleInMemory, value: SourceInMemory, folder: Path
) -> dict[str, Json]:
    data = data_entry(value, folder)
    return {
        "use": "local/module",
        "nonce": nonce,
        "shape": list(module.shape),
        **({} if data is None else {"data": data}),
    }


def _module_in_memory(name: str, value: SourceInMemory, shape: Shape) -> ModuleInMemory:
    """Return a source around a copy of a module.

    Raises:
        BadInput: The module cannot be copied, or does not return logits.
    """
    from advtransfer.executors.in_memory import ModuleInMemory, count_logits
    from advtransfer.toolkit.module_network import unit_normalization

    normalise = unit_normalization(value.bounds, value.mean, value.std)
    try:
        module = copy.deepcopy(value.module).cpu().eval()
        outputs = count_logits(module, normalise, shape)
        built = ModuleInMemory(
            module=module,
            shape=shape,
            outputs=outputs,
            blocks=value.blocks,
            head=value.head,
            normalise=normalise,
            data=value.trained_on if isinstance(value.trained_on, str) else "not stated",
        )
        built.network()
    except Exception as error:  # The module is a user's code, which raises anything.
        found = f"the source {name!r}, which fails on inputs of shape {shape} ({error_text(error)})"
        next_step = "correct the module, or write shape=(C, H, W)"
        tensors = all_tensors(value.module).values()
        types = {item.dtype for item in tensors if item.is_floating_point()}
        if any(str(dtype) != "torch.float32" for dtype in types):
            next_step = "images are float32: call module.float()"
        raise BadInput([Problem(found, "a module that returns logits", next_step)]) from error
    return built


@contextmanager
def _own_cache(settings: RunSettings) -> Iterator[RunSettings]:
    """Yield settings of a run in this process that leaves nothing in the cache.

    Raises:
        BadInput: The settings name several workers or another executor.
    """
    if settings.executor not in (POOL, INLINE) or settings.jobs not in (None, 1):
        found = f"executor={settings.executor!r} and jobs={settings.jobs} for a module in memory"
        next_step = "leave both out, or give the source rebuild=(factory, kwargs)"
        raise BadInput([Problem(found, "one job in this process", next_step)])
    with TemporaryDirectory(prefix="advtransfer-") as folder:
        yield replace(
            settings, executor=INLINE, jobs=None, cache=Path(folder), cache_below=settings.cache
        )


# --- modules that can be rebuilt ---


def _rebuilt_entry(name: str, value: SourceInMemory, shape: Shape, folder: Path) -> dict[str, Json]:
    """Write a module's weights into a file, and return the entry of its code and weights."""
    if value.rebuild is None:
        raise TypeError(f"found no factory of {name!r}; expected one; check is_rebuilt first")
    from advtransfer.toolkit.module_network import fixed_logits

    factory, arguments = value.rebuild
    data = data_entry(value, folder)
    checked = _module_in_memory(name, value, shape)
    logits = {"logits": fixed_logits(checked.module, shape)}
    entry: dict[str, Json] = {
        "use": "vision/module",
        "code": str(code_file(factory)),
        "name": factory.__qualname__,
        "file": str(_write_tensors(_plain_state(name, value.module), folder)),
        # Beside the code, the weights and the arguments, what the file imports decides the logits: so they are
        # part of the id, and every worker that builds the module again compares its own with them.
        "logits": str(_write_tensors(logits, folder)),
        "bounds": list(value.bounds),
    }
    if data is None:
        entry |= {"shape": list(shape), "outputs": checked.outputs}
    optional: dict[str, Json] = {
        "package": package_of(factory),
        "arguments": dict(arguments),
        "data": data,
        "mean": list(value.mean),
        "std": list(value.std),
        "blocks": list(value.blocks),
        "head": value.head,
    }
    return entry | {key: option for key, option in optional.items() if option}


def _plain_state(name: str, module: nn.Module) -> Mapping[str, Tensor]:
    """Return a module's state dict.

    Raises:
        BadInput: It holds something else than tensors.
    """
    state = module.state_dict()
    others = [key for key, item in state.items() if not hasattr(item, "detach")]
    if others:
        found = f"extra state that is no tensor in the source {name!r} ({', '.join(others)})"
        raise BadInput([Problem(found, "a state dict of tensors", "keep it in buffers")])
    return state


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """Write tensors into a file named by its content."""
    from safetensors.torch import save

    # Copies, since safetensors refuses tied weights.
    content = save({key: item.detach().cpu().clone().contiguous() for key, item in tensors.items()})
    path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path.absolute()


def _require_same_outputs(
    name: str, value: SourceInMemory, shape: Shape, suite: Suite, host: Host
) -> None:
    """Check that the module of the entry has the buffers and the outputs of the one in memory.

    Raises:
        BadInput: They differ: other code, other arguments, or state outside the weights.
    """
    node = source_node(suite, name)
    if node is None:  # It is on no cell of the grid.
        return
    from advtransfer.toolkit.module_network import fixed_logits, logits_difference

    try:
        rebuilt = _rebuild_module(node, host, value.module)
        own_logits = fixed_logits(copy.deepcopy(value.module).cpu(), shape)
        difference = logits_difference(fixed_logits(rebuilt.cpu(), shape), own_logits)
    except (AdvTransferError, RuntimeError, ValueError, TypeError) as error:
        reason = f"cannot be built again ({error_text(error)})"
        raise BadInput([_rebuild_problem(name, value, reason)]) from error
    if difference != 0:
        reason = (
            f"gives other logits when it is built again (by up to {difference:.2g} of the largest)"
        )
        raise BadInput([_rebuild_problem(name, value, reason)])
    own, other = all_tensors(value.module), all_tensors(rebuilt)
    buffers = [key for key, item in own.items() if key not in other or not _equal(item, other[key])]
    if buffers:
        reason = f"has buffers outside its state dict that differ ({', '.join(buffers[:3])})"
        raise BadInput([_rebuild_problem(name, value, reason)])


def _rebuild_problem(name: str, value: SourceInMemory, reason: str) -> Problem:
    factory, arguments = cast("tuple[Callable[..., nn.Module], Mapping[str, Json]]", value.rebuild)
    expected = f"the same module from {factory.__qualname__}(**{dict(arguments)})"
    next_step = "pass the factory and the arguments that built it, or leave rebuild out"
    return Problem(f"the source {name!r}, which {reason}", expected, next_step)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one.detach().cpu() == other.detach().cpu()).all())


def _rebuild_module(node: Node, host: Host, module: nn.Module) -> nn.Module:
    """Return the module inside the network that a worker builds, with the weights of `module`."""
    from advtransfer.types import Source
    from advtransfer.worker.object_builder import call_factory, dataset_of

    component = host.component(node.use)
    source = cast(Source, call_factory(component, node, lambda part: dataset_of(host, part)))
    rebuilt = cast("nn.Module", source.network()).get_submodule("model")
    rebuilt.load_state_dict(module.state_dict())
    return rebuilt
