"""A benchmark of adversarial robustness and transfer learning, made of plugins.

Importing this package imports nothing else: the command line, the plugins and the workers each take what they need.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """The installed version, looked up when asked for, since the look-up costs a tenth of the command line's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("advtransfer")
