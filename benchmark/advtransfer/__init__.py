"""A benchmark of adversarial robustness and transfer learning, built from plugins.

Importing this package imports nothing else: the command line, plugins and workers import what they use.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Return the installed version on first access: looking it up takes a tenth of the command line's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("advtransfer")
