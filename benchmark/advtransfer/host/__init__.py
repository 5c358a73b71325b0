"""The plugin host: finds plugins by entry point, loads them, looks components up as ``plugin/factory``."""

from advtransfer.host.component import Component
from advtransfer.host.plugin import Plugin, install_command
from advtransfer.host.registry import Host

__all__ = ["Component", "Host", "Plugin", "install_command"]
