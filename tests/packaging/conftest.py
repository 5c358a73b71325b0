"""A wheel, and a fresh environment in which it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A fresh virtual environment that shares the libraries installed here, but not this checkout."""

    folder: Path

    def __call__(self, *command: str, cwd: str = "/", cache: str = "cache") -> str:
        """Run one of its programs with the cache of a name, and return what it printed."""
        variables = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "ADVTRANSFER"))
        }
        folders = {"ADVTRANSFER_CACHE": str(self.folder / cache)}
        done = subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd,
            env=variables | folders,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *what: Path) -> None:
        """Install wheels or projects, without their dependencies: these are shared."""
        self(
            "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            *map(str, what),
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)  # pip is one of the shared libraries.
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = Environment(folder)
    environment.install(wheel)
    return environment
