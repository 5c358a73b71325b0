"""Plugins that break, each in its own way: named with what is wrong, and the others are there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge

from advtransfer.errors import PluginError
from advtransfer.hookspecs import ComponentKind, hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.types import Dataset, Factory, Json, component


def faces(*, pixels: int = 8) -> Dataset:
    """Faces, small ones."""
    raise AssertionError(pixels)


def module(**members: object) -> ModuleType:
    made = ModuleType("made")
    for name, member in members.items():
        setattr(made, name, member)
    return made


def answering(question: str, answer: Callable[[], object]) -> ModuleType:
    def implementation() -> object:
        return answer()

    implementation.__name__ = question
    return module(**{question: hookimpl(implementation)})


def plugin(name: str, made: str | ModuleType, *, distribution: str = "example") -> Plugin:
    return Plugin(name, made, distribution, "1.0")


def host(**modules: str | ModuleType) -> Host:
    return Host([plugin(name, made) for name, made in modules.items()])


def bringing(*factories: Callable[..., object]) -> ModuleType:
    return answering("register_datasets", lambda: list(factories))


def test_a_misspelled_hook_is_the_mistake_of_its_plugin_alone() -> None:
    hosted = host(art=answering("register_datasetz", list), fine=bringing(faces))

    assert ["fine/faces"] == [one.name for one in hosted.components()]
    assert ["art"] == list(hosted.broken_plugins)
    with pytest.raises(PluginError, match="plugin 'art': implements the unknown hook"):
        hosted.load_plugin("art")


def test_a_listener_of_a_broken_plugin_hears_nothing() -> None:
    heard = []

    @hookimpl
    def trial_started(trial: Mapping[str, Json]) -> None:
        heard.append(trial)

    made = answering("register_datasets", lambda: [1])
    made.trial_started = trial_started  # type: ignore[attr-defined]  # a module takes any attribute
    hosted = host(art=made, fine=bringing(faces))
    with pytest.raises(PluginError):
        hosted.load_plugin("art")
    hosted.hook.trial_started(trial={})

    assert [] == heard


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (
            {"register_datasets": lambda: [faces]},
            "has 'register_datasets', which is named like a hook and is none; write",
        ),
        (
            {"trial_started": cache(lambda: None)},
            "has 'trial_started', which is named like a hook and is none; write",
        ),
        (
            {"register_dataset": lambda: [faces]},
            "has 'register_dataset'; did you mean register_datasets",
        ),
    ],
)
def test_a_hook_without_its_marker_is_told(members: dict[str, object], complaint: str) -> None:
    with pytest.raises(PluginError, match=f"plugin 'art': .*{complaint}.*@hookimpl above it"):
        host(art=module(**members)).load_plugin("art")


class Bringer:
    """A plugin that is an object, as pluggy allows."""

    @hookimpl
    def register_datasets(self) -> Iterable[Factory[Dataset]]:
        return [faces]


@pytest.mark.parametrize(
    "entry", ["bringing:plugin", "bringing:shelf.plugin", "bringing: shelf.plugin", "bringing"]
)
def test_an_entry_point_may_name_an_object_in_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setitem(sys.modules, "bringing", bringing(faces))
    vars(sys.modules["bringing"]).update(plugin=Bringer(), shelf=SimpleNamespace(plugin=Bringer()))

    assert ["art/faces"] == list(host(art=entry).load_plugin("art"))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (
            "shelving:plugim",
            "has the entry point 'shelving:plugim', but .* has no attribute 'plugim'; did you mean 'plugin'",
        ),
        (
            "shelving:none.plugin",
            "has the entry point .*, but .* has no attribute 'none'; correct the entry point of example",
        ),
        (
            "shelvng",
            "has the entry point 'shelvng', but there is no module 'shelvng'; correct the entry point of",
        ),
        ("shelving.deep:x", "has the entry point .*, but there is no module 'shelving.deep'"),
        ("shelving:", "has the entry point 'shelving:'; expected module or module:attribute"),
        ("shelving:Bringer", "is the class 'Bringer'; expected a module or an object"),
    ],
)
def test_an_entry_point_that_names_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, entry: str, complaint: str
) -> None:
    monkeypatch.setitem(sys.modules, "shelving", module(plugin=Bringer(), Bringer=Bringer))

    with pytest.raises(PluginError, match=f"plugin 'art': {complaint}"):
        host(art=entry).load_plugin("art")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import sys\nsys.exit(3)", "fails to import: SystemExit: 3 \\({file}:2\\)"),
        ("raise BaseException('out')", "fails to import: BaseException: out \\({file}:1\\)"),
        ("def broken(:\n", "fails to import: SyntaxError: .* \\({file}:1\\)"),
        (
            "from math import cosinus",
            "fails to import: ImportError: cannot import name 'cosinus' .* \\({file}:1\\)",
        ),
        (
            "import leaving.room",
            "imports 'leaving.room', which does not exist \\({file}:1\\); correct the import",
        ),
        (
            "import json.loadz",
            "imports 'json.loadz', which does not exist \\({file}:1\\); correct the import",
        ),
    ],
)
def test_a_plugin_that_cannot_be_imported_breaks_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    (tmp_path / "leaving.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    hosted = host(gone="leaving", fine=bringing(faces))

    assert ["fine/faces"] == [one.name for one in hosted.components()]
    assert re.search(
        f"plugin 'gone': {complaint.format(file=tmp_path / 'leaving.py')}",
        str(hosted.broken_plugins["gone"]),
    )


def leave() -> object:
    raise SystemExit(4)


class Unreadable:
    """Raises whenever it is looked at."""

    __name__ = "faces"

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # wrong on purpose
        return str(leave())

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (leave, "register_datasets fails: SystemExit: 4"),
        (lambda: (leave() for _ in range(2)), "register_datasets fails: SystemExit: 4"),
        (lambda: faces, "register_datasets gave <function faces .*>; expected a list of factories"),
        (lambda: {"faces": faces}, "register_datasets gave {.*}; expected a list of factories"),
        (lambda: [Bringer], "register_datasets gave <class .*Bringer'>; expected a named function"),
        (lambda: [Unreadable()], "'Unreadable' is not a factory: SystemExit: 4"),
        (
            lambda: [faces, faces],
            "brings 'art/faces' twice, as a dataset and as a dataset; names are unique",
        ),
    ],
)
def test_a_plugin_that_answers_badly_breaks_itself_alone(
    answer: Callable[[], object], complaint: str
) -> None:
    hosted = host(art=answering("register_datasets", answer), fine=bringing(faces))

    assert ["fine/faces"] == [one.name for one in hosted.components()]
    assert re.search(f"plugin 'art': {complaint}", str(hosted.broken_plugins["art"]))


@pytest.mark.parametrize("name", ["host", "a/b", "a b", "", "-x"])
def test_a_plugin_of_a_name_that_no_suite_can_use_breaks_itself_alone(name: str) -> None:
    hosted = Host([plugin(name, bringing(faces)), plugin("fine", bringing(faces))])

    assert ["fine/faces"] == [one.name for one in hosted.components()]
    assert "has a name that suites cannot use" in str(hosted.broken_plugins[name])


def test_a_factory_that_ends_the_process_is_its_plugins_error() -> None:
    def leaving() -> Dataset:
        """Leaves."""
        raise SystemExit(5)

    with pytest.raises(
        PluginError,
        match=r"plugin 'art': art/leaving would end the process: SystemExit: 5 \(.*:\d+\)",
    ):
        host(art=bringing(leaving)).component("art/leaving").build({}, {})


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        (
            {"needs": ["models"]},
            "found needs with 'models'; expected a list of words out of 'model', 'source', ",
        ),
        ({"needs": "model"}, "found needs='model'; expected a list of words out of 'model', "),
        ({"needs": None}, "found needs=None; expected a list of words out of 'model', "),
        (
            {"tasks": ["class"]},
            "found tasks with 'class'; expected a list of words out of 'classes', 'attributes'",
        ),
        ({"tasks": "classes"}, "found tasks='classes'; expected a list of words"),
    ],
)
def test_words_that_component_does_not_know_are_refused_with_those_it_knows(
    facts: dict[str, Any],  # Any: wrong on purpose
    complaint: str,
) -> None:
    with pytest.raises(TypeError, match=complaint):
        component(**facts)


class Level(Enum):
    """How bright."""

    LOW = "low"
    HIGH = "high"


class Opaque:
    """A type that no YAML can say."""


@dataclass(frozen=True)
class Light:
    """Options inside an option."""

    names: tuple[str, ...] = ()
    inner: Opaque | None = None


@pytest.mark.parametrize(
    ("hint", "default", "complaint"),
    [
        (Opaque, None, "option 'odd' has the type Opaque, which cannot be written"),
        (Opaque | None, None, "option 'odd' has the type Opaque . None, which cannot"),
        (list[Opaque], (), r"option 'odd' has the type list\[Opaque\], which cannot"),
        (Annotated[Opaque, Ge(1)], None, "option 'odd' has the type Opaque"),
        (Light, Light(), "option 'odd' has the type Light"),
        (Callable[[int], int], abs, "option 'odd' has the type .*Callable"),
        (float, Opaque(), "option 'odd' has the default .*Opaque object.*, which is no float"),
        (int, 1.5, "option 'odd' has the default 1.5, which is no int"),
        (bool, 1, "option 'odd' has the default 1, which is no bool"),
        (Annotated[int, Ge(1)], 0, "option 'odd' has the default 0, which is no int >= 1"),
        (Literal["a", "b"], "c", "option 'odd' has the default 'c', which is no 'a' . 'b'"),
        (list[int], ("a",), "option 'odd' has the default .*, which is no list"),
    ],
)
def test_an_option_of_a_type_that_no_suite_can_write_is_its_plugins_error(
    hint: object, default: object, complaint: str
) -> None:
    def painted(*, odd: object = default) -> Dataset:
        """A painting."""
        raise AssertionError(odd)

    painted.__annotations__ = {"odd": hint, "return": Dataset}
    with pytest.raises(
        PluginError,
        match=f"plugin 'art': 'painted' is not a factory: its {complaint}.*; expected bool",
    ):
        host(art=bringing(painted)).load_plugin("art")


def test_unusual_types_that_a_suite_can_write_are_taken() -> None:
    def painted(
        *, at: date = date(2026, 1, 1), kind: ComponentKind | None = None, light: Level = Level.LOW
    ) -> Dataset:
        """A painting."""
        raise AssertionError(at, kind, light)

    painted.__annotations__ = {
        "at": date,
        "kind": ComponentKind | None,
        "light": Level,
        "return": Dataset,
    }

    assert ["at", "kind", "light"] == list(
        host(art=bringing(painted)).component("art/painted").options.fields
    )
