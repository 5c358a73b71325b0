from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest

from advtransfer.errors import MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import QUESTIONS, hookimpl
from advtransfer.host import Host, Plugin, install_command
from advtransfer.types import Dataset, Evaluation, Factory, Transfer, component


def faces(*, pixels: int = 8) -> Dataset:
    """Faces, small ones."""
    raise AssertionError(pixels)


def probe(*, blocks: int) -> Transfer:
    """A probe."""
    raise AssertionError(blocks)


NEEDY = "    import no_such_library  # type: ignore[import-not-found]  # it must not exist"


def needy() -> Dataset:
    """Needs a library that nobody has."""
    import no_such_library  # type: ignore[import-not-found]  # it must not exist

    return no_such_library.dataset()  # type: ignore[no-any-return]  # never reached


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


def write_distribution(
    folder: Path, name: str, *, requires: Iterable[str] = (), **files: str
) -> None:
    """A distribution as pip would lay it down, with modules beside it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        "Version: 1.0",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    for file, text in files.items():
        (folder / f"{file}.py").write_text(text)


def plugin(name: str, made: str | ModuleType, *, distribution: str = "example") -> Plugin:
    return Plugin(name, made, distribution, "1.0")


def host(**modules: str | ModuleType) -> Host:
    return Host([plugin(name, made) for name, made in modules.items()])


def bringing(*factories: Callable[..., object]) -> ModuleType:
    return answering("register_datasets", lambda: list(factories))


def test_a_component_is_found_by_plugin_and_factory() -> None:
    found = host(art=bringing(faces)).component("art/faces")

    assert found.name == "art/faces"
    assert found.kind == "dataset"
    assert found.summary == "Faces, small ones."
    assert found.options.fields["pixels"].default == 8


def test_looking_a_component_up_imports_only_its_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_that_explodes.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert (
        host(art=bringing(faces), boom="plugin_that_explodes").component("art/faces").plugin
        == "art"
    )
    assert "plugin_that_explodes" not in sys.modules


def test_components_come_sorted_by_name_whatever_the_order_of_plugins() -> None:
    one, two = bringing(faces), answering("register_transfers", lambda: [probe])

    assert [c.name for c in host(b=one, a=two).components()] == ["a/probe", "b/faces"]
    assert [c.name for c in host(a=two, b=one).components()] == ["a/probe", "b/faces"]
    assert [c.name for c in host(a=two, b=one).components("dataset")] == ["b/faces"]


def test_a_misspelled_hook_is_an_error_that_names_it() -> None:
    with pytest.raises(
        PluginError,
        match=r"plugin 'art': implements the unknown hook 'register_datasetz'; did you mean register_datasets\?",
    ):
        host(art=answering("register_datasetz", list)).load_plugin("art")


def test_one_raising_plugin_is_named_and_does_not_silence_the_others() -> None:
    def explode() -> object:
        raise ValueError("no colours left")

    both = host(broken=answering("register_datasets", explode), fine=bringing(faces))

    with pytest.raises(
        PluginError, match=r"plugin 'broken': register_datasets fails: ValueError: no colours left"
    ):
        both.load_plugin("broken")
    assert list(both.load_plugin("fine")) == ["fine/faces"]


def test_two_distributions_with_one_name_are_an_error_only_when_that_plugin_is_named() -> None:
    both = Host(
        [
            plugin("art", bringing(faces), distribution="one"),
            plugin("art", bringing(faces), distribution="two"),
            plugin("fine", bringing(faces)),
        ]
    )

    assert both.component("fine/faces").plugin == "fine"
    with pytest.raises(PluginError, match=r"several distributions \(one 1.0, two 1.0\)"):
        both.component("art/faces")


def test_a_name_is_unique_over_all_kinds() -> None:
    def same() -> Evaluation:
        """Another kind, the same name."""
        raise AssertionError

    same.__name__ = "faces"
    made = bringing(faces)
    evaluations = answering("register_evaluations", lambda: [same])
    setattr(made, "register_evaluations", evaluations.register_evaluations)  # noqa: B010  # not for mypy

    with pytest.raises(PluginError, match="brings 'art/faces' twice"):
        host(art=made).load_plugin("art")


def test_an_unknown_name_knows_what_was_meant() -> None:
    known = host(art=bringing(faces), prob=answering("register_transfers", lambda: [probe]))

    with pytest.raises(UnknownName, match="did you mean 'art/faces'") as error:
        known.component("art/facs")
    assert error.value.near[0] == "art/faces"
    with pytest.raises(UnknownName, match="did you mean 'prob/probe'"):
        known.component("probe")
    with pytest.raises(UnknownName, match=r"an installed plugin \(art, prob\)"):
        known.component("none/probe")
    with pytest.raises(UnknownName, match="this is a component of kind dataset"):
        known.component("art/faces", "transfer")


def test_a_broken_neighbour_does_not_hide_the_hint() -> None:
    with pytest.raises(UnknownName, match="did you mean 'art/faces'"):
        host(art=bringing(faces), broken="no_such_module_at_all").component("arts/faces")


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (lambda: None, "expected a named function"),
        (42, "expected a named function"),
    ],
)
def test_what_is_no_named_function_is_refused(
    factory: Callable[..., object], complaint: str
) -> None:
    with pytest.raises(PluginError, match=complaint):
        host(art=bringing(factory)).load_plugin("art")


def test_a_factory_that_breaks_the_contract_is_refused_with_the_reason() -> None:
    def silent() -> Dataset:
        raise AssertionError

    def positional(pixels: int = 1) -> Dataset:
        """Takes its option by position."""
        raise AssertionError(pixels)

    def reserved(*, label: str = "x") -> Dataset:
        """Uses a word of the grammar."""
        raise AssertionError(label)

    def kept_for_executors(*, timeout: float = 1.0) -> Dataset:
        """Uses a word that executors will read."""
        raise AssertionError(timeout)

    def unannotated(*, pixels=1) -> Dataset:  # type: ignore[no-untyped-def]  # noqa: ANN001  # wrong on purpose
        """Says no type."""
        raise AssertionError(pixels)

    for factory, complaint in [
        (silent, "has no docstring"),
        (positional, "must be keyword-only"),
        (reserved, "reserved name"),
        (kept_for_executors, "reserved name"),
        (unannotated, "needs an annotation"),
    ]:
        with pytest.raises(PluginError, match=complaint):
            host(art=bringing(factory)).load_plugin("art")


def test_annotations_that_resolve_only_for_the_type_checker_are_refused() -> None:
    def hidden() -> Dataset:
        """Has an annotation from nowhere."""
        raise AssertionError

    hidden.__annotations__ = {"pixels": "NowhereToBeFound"}

    with pytest.raises(PluginError, match="do not resolve at run time"):
        host(art=bringing(hidden)).load_plugin("art")


def test_a_missing_library_is_told_with_the_line_that_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_in_need.py").write_text("import math\nimport no_such_library.deep")
    monkeypatch.syspath_prepend(str(tmp_path))
    hosted = host(art=bringing(needy), eager="plugin_in_need")

    line = 1 + Path(__file__).read_text().splitlines().index(NEEDY)
    with pytest.raises(
        MissingLibrary, match="art/needy needs the library 'no_such_library', which is not"
    ) as built:
        hosted.component("art/needy").build({}, {})
    assert f"it imports 'no_such_library' ({__file__}:{line}); " in str(built.value)
    with pytest.raises(
        MissingLibrary, match="plugin 'eager' needs the library 'no_such_library', which is"
    ) as loaded:
        hosted.load_plugin("eager")
    assert f"it imports 'no_such_library' ({tmp_path / 'plugin_in_need.py'}:2); " in str(
        loaded.value
    )
    assert "pip install" not in str(built.value) + str(loaded.value)


@pytest.mark.parametrize(
    ("library", "line"),
    [
        ("timm", "pip install 'needing[zoo]'"),
        ("huggingface_hub", "pip install 'needing[zoo]'"),
        ("sklearn", "pip install scikit-learn"),
        ("timmm", None),
        ("zoo", None),
    ],
)
def test_a_pip_line_is_told_only_for_what_the_plugins_distribution_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, line: str | None
) -> None:
    requirements = [
        "scikit-learn>=1.4",
        "timm>=1; extra == 'zoo'",
        'huggingface-hub; extra == "zoo"',
    ]
    write_distribution(tmp_path, "needing", requires=requirements)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert line == install_command(library, "needing")
    assert install_command(library, "no-such-distribution") is None


def test_facts_are_those_that_component_states() -> None:
    @component(version=3, needs=["source"], presets={"quick": {"blocks": 0}})
    def tuned(*, blocks: int = 1) -> Transfer:
        """A transfer with facts."""
        raise AssertionError(blocks)

    found = host(art=answering("register_transfers", lambda: [tuned])).component("art/tuned")

    assert found.metadata.version == 3
    assert found.metadata.needs == {"source"}
    assert found.metadata.presets == {"quick": {"blocks": 0}}


def test_the_installed_plugins_answer_every_question_they_should() -> None:
    kinds = {component.kind for component in Host.discover().components()}

    assert {"dataset", "source", "transfer", "evaluation", "executor"} <= kinds
    assert set(QUESTIONS.values()) >= kinds


def test_a_plugin_may_answer_with_nothing() -> None:
    def nothing() -> Iterable[Factory[Dataset]] | None:
        return None

    assert host(art=answering("register_datasets", nothing)).load_plugin("art") == {}
