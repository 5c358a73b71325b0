"""One CPU thread for every test, numbers that hold on every machine, and no skip without a reason in CI."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch or numpy is imported: more threads change floating-point sums, and spin on a busy machine.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

ALLOWED_SKIPS = {
    "CUDA": "CI's machines have no GPU; the pretend device stands in for one",
    "[autoattack]": "the original is a judge; its comparison is tested with scripted attacks too",
    "imagecorruptions": "it is a judge; each corruption is held to its formula too",
    "moocore": "it is a judge; fronts are held to their definition and to areas by hand too",
    "secml-torch": "its attack is one example of a plugin's; the other five need nothing more",
    "[shell]": "zsh and fish are installed where a package manager can be reached; bash is always tried",
    "[case]": "names that differ in case alone cannot be made on such a file system",
    "[unshare]": "hiding folders from one node of a cluster needs root on Linux",
    "[fork]": "a second process needs two processors and Linux; the same page is made by one",
    "[proc]": "Linux tells the memory of other processes, and CI runs on it",
    "[latex]": "a LaTeX is large; a strict reader of what is written stands in for it",
}
"""What the reason of a skip must name to be no error where CI is set, and why it is none."""
if "ADVTRANSFER_DATA" not in os.environ:
    ALLOWED_SKIPS["ADVTRANSFER_DATA"] = (
        "no machine can be asked to download MNIST, FashionMNIST and CIFAR-10"
    )


@pytest.fixture(autouse=True, scope="session")
def no_user_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No listener of the user's own configuration hears the runs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ADVTRANSFER_CONFIG", raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def install_plugin(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function from a name and the text of its module to a folder with this plugin's distribution."""

    def install(name: str, text: str) -> Path:
        site = tmp_path / "plugins" / name
        information = site / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (site / f"{name}_plugin.py").write_text(text)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[advtransfer]\n{name} = {name}_plugin\n")
        return site

    return install


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Expected numbers hold on every processor and with every torch: all is float64, and dropout draws by `rand`.

    In float32 they do not: Adam makes whole steps of gradients that are nothing but rounding, such as that of a bias
    before batch normalisation. Torch draws dropout's masks in another way from version to version, and with MKL. The
    numbers are others than without this fixture.
    """
    import torch

    from advtransfer.toolkit import datasets

    def dropout(
        inputs: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        return inputs * (torch.rand(inputs.shape) >= p) / (1 - p) if training else inputs

    monkeypatch.setattr(datasets, "INPUT_DTYPES", (torch.uint8, torch.float64))
    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pytest_collection_finish() -> None:
    """Spare garbage collections what was imported for the tests: a million objects that stay to the end."""
    gc.freeze()


class SkipsInCI:
    """Fails the session where a test is skipped for a reason that is not on the list."""

    def __init__(self) -> None:
        self.unlisted: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep a skip whose reason is not on the list; an expected failure is none."""
        if (
            report.skipped
            and not hasattr(report, "wasxfail")
            and isinstance(report.longrepr, tuple)
        ):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not any(word in reason for word in ALLOWED_SKIPS):
                self.unlisted.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unlisted:
            terminalreporter.section("skips that tests/conftest.py does not list", red=True)
            for line in self.unlisted:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Watch over skips where CI is set; a worker of pytest-xdist leaves that to the process that it reports to."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipsInCI())
