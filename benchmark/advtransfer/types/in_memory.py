"""Words for results of modules that existed in the memory of one process alone."""

IN_MEMORY_USE = "local/module"
"""The component of a source that is such a module."""
CANNOT_BE_REBUILT = "in memory: cannot be rebuilt"
"""What its rows say."""
