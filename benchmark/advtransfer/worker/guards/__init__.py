"""Guards that notice what a plugin changes in the process while it works, and undo it."""
