"""Examine an installation: plugins, versions, devices, threads, data folders, the cache and the disk.

Nothing is changed, and torch is not imported, so that the answer comes at once.
"""

from __future__ import annotations

from advtransfer.doctor.cache_health import examine_cache
from advtransfer.doctor.finding import Finding, FindingStatus
from advtransfer.doctor.machine import examine_data_folder, examine_devices, examine_threads
from advtransfer.doctor.plugins import examine_plugins
from advtransfer.doctor.versions import examine_versions
from advtransfer.host import Host

__all__ = ["Finding", "FindingStatus", "examine_installation"]


def examine_installation(host: Host) -> list[Finding]:
    """Return the findings of every area, in the order in which faults should be put right."""
    return [
        *examine_versions(host),
        *examine_plugins(host),
        *examine_devices(),
        *examine_threads(),
        *examine_data_folder(),
        *examine_cache(),
    ]
