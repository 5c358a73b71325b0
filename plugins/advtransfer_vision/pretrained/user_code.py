"""Networks of a user's own Python file: the code of the file is run, and a class or function of it is called."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from advtransfer.errors import AdvTransferError
from advtransfer.text import error_text, type_text
from advtransfer.toolkit.module_network import (
    LOGITS_TOLERANCE,
    ModuleNetwork,
    fixed_logits,
    logits_difference,
    unit_normalization,
    wrap_module,
)
from advtransfer.toolkit.rng import build_redrawable
from advtransfer.types import Context, Dataset, File, Shape, Tensors
from advtransfer_vision.pretrained.checkpoints import CheckpointContents, CheckpointLayout
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.network_spec import CutNetwork
from advtransfer_vision.pretrained.safe_load import CheckpointError, read_weights
from advtransfer_vision.pretrained.source import PretrainedSource
from advtransfer_vision.pretrained.weight_loading import fill_network

MODULE_PREFIX = "_advtransfer_"
"""Prefix of the names under which files are imported: the file as it is, whatever is imported already."""
UNTRAINED_CLAIMS = Claims(data="none: untrained")


def load_code(code: File, *, package: str | None) -> ModuleType:
    """Run a Python file and return it as a module; a file of the same content is run once.

    Args:
        code: The file.
        package: The package that the file belongs to, for its relative imports.

    Raises:
        AdvTransferError: The file fails.
    """
    own_name = f"{MODULE_PREFIX}{code.sha256[:16]}"
    name = f"{package}.{own_name}" if package else own_name
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    with _importable(code.path, package):
        try:
            if package:
                importlib.import_module(package)
            spec = importlib.util.spec_from_file_location(name, code.path)
            if spec is None or spec.loader is None:
                raise ImportError("it has no ending of Python code")
            module = importlib.util.module_from_spec(spec)
            # Data classes look their module up while the file is run.
            sys.modules[name] = module
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            sys.modules.pop(name, None)
            found = f"{code.path}, which fails when it is run ({error_text(error)})"
            next_step = "correct it"
            if isinstance(error, ImportError):
                next_step = "install what it imports, or write `package` for its relative imports"
            raise AdvTransferError(f"found {found}; expected Python code; {next_step}") from error
    return module


@contextmanager
def _importable(path: Path, package: str | None) -> Iterator[None]:
    """Let the code inside import what lies beside a file, or beside the outermost package of it."""
    depth = len(package.split(".")) if package else 0
    parents = path.resolve().parents
    root = str(parents[min(depth, len(parents) - 1)])
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)


def find_factory(code: File, module: ModuleType, name: str) -> Callable[..., object]:
    """Return a class or function of a module.

    Raises:
        AdvTransferError: There is none of this name; lists those that there are.
    """
    value: object = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if callable(value):
        return value
    own = [
        key
        for key, item in vars(module).items()
        if callable(item) and getattr(item, "__module__", None) == module.__name__
    ]
    similar = difflib.get_close_matches(name, own, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else "correct `name`"
    raise AdvTransferError(
        f"found no class or function {name!r} in {code.path}; "
        f"expected one of {', '.join(sorted(own)) or 'some'}; {hint}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSpec:
    """The network of a class or function in a user's file, before it has weights.

    Args:
        code: The file.
        name: The class or function in it.
        package: As `load_code` takes it.
        arguments: Keyword arguments of the call.
        shape: The shape of one input.
        outputs: Number of logits.
        bounds: The smallest and the largest pixel that the module knows.
        mean: Mean of each channel, within `bounds`; empty for none.
        std: Standard deviation of each channel, likewise.
        blocks: Paths of the modules where blocks begin; empty to find them.
        head: Path of the module that gives the logits; required with `blocks`.
    """

    code: File
    name: str
    package: str | None
    arguments: Mapping[str, object]
    shape: Shape
    outputs: int
    bounds: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    blocks: tuple[str, ...]
    head: str | None
    clamp: bool = field(default=False, init=False)

    @property
    def normalization_text(self) -> str:
        """Description of the normalisation for the source's card."""
        normalise = unit_normalization(self.bounds, self.mean, self.std)
        if normalise is None:
            return "none"
        mean = ", ".join(f"{value:g}" for value in normalise.mean.flatten().tolist())
        std = ", ".join(f"{value:g}" for value in normalise.std.flatten().tolist())
        return f"mean {mean}, std {std}"

    def draw_network(self, source: torch.Generator) -> ModuleNetwork:
        """Build the network with initial weights drawn from `source`."""
        return build_redrawable(self.build_network, source)

    def build_network(self) -> ModuleNetwork:
        """Build the network with initial weights from torch's global random state."""
        return wrap_module(
            self._build_model(),
            self.shape,
            blocks=self.blocks,
            head=self.head,
            normalise=unit_normalization(self.bounds, self.mean, self.std),
        )

    def current_names(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the tensors of a file under their own names."""
        return dict(tensors)

    def _build_model(self) -> nn.Module:
        """Call the class or function.

        Raises:
            AdvTransferError: It fails, or returns no module.
        """
        factory = find_factory(self.code, load_code(self.code, package=self.package), self.name)
        try:
            model = factory(**self.arguments)
        except Exception as error:
            found = f"{self.name} of {self.code.path}, which fails ({error_text(error)})"
            raise AdvTransferError(
                f"found {found}; expected a network; correct it, or its `arguments`"
            ) from error
        if not isinstance(model, nn.Module):
            found = f"{self.name} of {self.code.path}, which returns {type_text(model)}"
            raise AdvTransferError(f"found {found}; expected an nn.Module; correct `name`")
        return model


def module_source(
    spec: ModuleSpec,
    *,
    file: File | None,
    layout: CheckpointLayout,
    claims: Claims | None,
    logits: File | None = None,
) -> PretrainedSource:
    """Return the source of a user's class with weights of a file, or with its initial weights.

    Raises:
        ValueError: `logits` without `file`.
    """
    if file is None:
        if logits is not None:
            found = "`logits` without `file`"
            raise ValueError(f"found {found}; expected the weights that give them; write `file`")
        return PretrainedSource(spec=spec, claims=claims or UNTRAINED_CLAIMS)
    path, options = file.path, layout.options | {"mean"}

    def read(context: Context | None, network: CutNetwork) -> CheckpointContents:
        return layout.read_file(path, network, what=spec.name, rename=spec.current_names)

    def check(network: CutNetwork) -> None:
        if logits is not None:
            contents = read(None, network)
            fill_network(network, contents, name=spec.name, place=str(path), options=options)
            require_logits(network.model, read_logits(logits), spec)

    return PretrainedSource(
        spec=spec,
        claims=claims or Claims(),
        place=str(path),
        read=read,
        options=options,
        check=check,
    )


def read_logits(file: File) -> Tensor:
    """Return the logits ``(inputs, outputs)`` that a network must give.

    Raises:
        CheckpointError: The file holds none.
    """
    content = read_weights(file.path)
    logits = content.get("logits") if isinstance(content, dict) else None
    if isinstance(logits, Tensor) and logits.numel():
        return logits
    found = f"{file.path} without a tensor 'logits'"
    raise CheckpointError(
        f"found {found}; expected a file that advtransfer.source wrote; leave `logits` out"
    )


def require_logits(model: nn.Module, expected: Tensor, spec: ModuleSpec) -> None:
    """Check that a model with its weights gives the expected logits for the fixed inputs.

    Raises:
        AdvTransferError: It gives others.
    """
    difference = logits_difference(fixed_logits(model, spec.shape), expected)
    if difference <= LOGITS_TOLERANCE:
        return
    found = f"{spec.name}, which gives other logits when it is built again"
    size = f"by up to {difference:.2g} of the largest, for {len(expected)} fixed inputs"
    raise AdvTransferError(
        f"found {found} ({size}); expected those of the module in memory; keep all that decides them in its "
        "file, arguments and weights, and not in a module that the file imports"
    )


def agreed_shape(
    data: Dataset | None, shape: tuple[int, ...] | None, outputs: int | None
) -> tuple[Shape, int]:
    """Return the shape of the inputs and the number of logits, as the options and the data say.

    Raises:
        ValueError: They are not known, or differ.
    """
    card = data.card() if data is not None else None
    if (shape is None or outputs is None) and card is None:
        found = f"shape {shape} and outputs {outputs}, and no data"
        raise ValueError(
            f"found {found}; expected the shape of one input and the number of logits; "
            "write `data`, or `shape: [C, H, W]` and `outputs`"
        )
    sizes = (card.shape, card.outputs) if card else (None, None)
    for name, option, of_data in (("shape", shape, sizes[0]), ("outputs", outputs, sizes[1])):
        if None not in (option, of_data) and option != of_data:
            found = f"{name} {option} and data of {of_data}"
            raise ValueError(f"found {found}; expected the same; correct one of them")
    return shape or card.shape, outputs or card.outputs  # type: ignore[union-attr]  # one of the two is given, as checked above
