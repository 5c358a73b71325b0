"""Plugins that cannot be used: broken, brought twice, or without their libraries."""

from __future__ import annotations

from collections import Counter

from advtransfer.doctor.finding import Finding
from advtransfer.errors import MissingLibrary
from advtransfer.host import Host


def examine_plugins(host: Host) -> list[Finding]:
    """Load every plugin; return one finding for each that is broken, and one for the others."""
    components = host.components()
    counts = Counter(component.plugin for component in components)
    broken = host.broken_plugins
    usable = [name for name in host.plugin_names if name not in broken]
    if usable:
        names = ", ".join(f"{name} ({counts[name]})" for name in usable)
        loaded = Finding("plugins", "ok", f"loaded, with the number of components: {names}")
    else:
        reinstall = "reinstall advtransfer: python -m pip install --force-reinstall advtransfer"
        loaded = Finding("plugins", "problem", "no plugin can be loaded", reinstall)
    return [loaded, *(_broken_finding(error) for error in broken.values())]


def _broken_finding(error: Exception) -> Finding:
    is_missing = isinstance(error, MissingLibrary)
    next_step = "install the library" if is_missing else "correct the plugin, or uninstall it"
    return Finding("plugins", "problem", str(error), next_step)
