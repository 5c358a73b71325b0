"""Versions of Python and of the libraries, against what installed distributions require.

The metadata of the distributions are read; no library is imported.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.specifiers import SpecifierSet

from advtransfer.doctor.finding import Finding
from advtransfer.host import Host
from advtransfer.host.distributions import direct_requirements, installed_version

SHOWN = ("advtransfer", "torch", "torchvision", "foolbox", "numpy", "scipy")
"""Distributions whose versions are shown."""


def examine_versions(host: Host) -> list[Finding]:
    """Return the versions, and each requirement that is not met.

    Covered are advtransfer, the distributions of plugins, and, one level deep, what these require: torchvision
    must fit to torch.
    """
    roots = sorted({"advtransfer", *host.distributions})
    required = [requirement.name for name in roots for requirement in direct_requirements(name)]
    owners = dict.fromkeys([*roots, *sorted(required)])
    faults = [fault for owner in owners for fault in _unmet_requirements(owner)]
    return [_version_finding(), *_python_faults(), *faults]


def _version_finding() -> Finding:
    versions = [f"{name} {installed_version(name) or 'is missing'}" for name in SHOWN]
    return Finding("versions", "ok", f"Python {platform.python_version()}, {', '.join(versions)}")


def _python_faults() -> Iterator[Finding]:
    try:
        required = distribution("advtransfer").metadata["Requires-Python"]
    except PackageNotFoundError:
        found = "advtransfer is not installed as a distribution, so that no entry point is found"
        yield Finding("versions", "problem", found, "python -m pip install advtransfer")
        return
    version = platform.python_version()
    if required and not SpecifierSet(required).contains(version, prereleases=True):
        found = f"Python {version}, but advtransfer requires {required}"
        yield Finding("versions", "problem", found, "make a virtual environment of such a Python")


def _unmet_requirements(owner: str) -> Iterator[Finding]:
    for requirement in direct_requirements(owner):
        version = installed_version(requirement.name)
        if version is None:
            found = f"{owner} requires {requirement.name}, which is not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            found = f"{requirement.name} {version}, but {owner} requires {requirement.specifier}"
        else:
            continue
        next_step = f"python -m pip install '{requirement.name}{requirement.specifier}'"
        if owner != "advtransfer":
            next_step += f", or remove {owner}, where advtransfer needs another version"
        yield Finding("versions", "problem", found, next_step)
