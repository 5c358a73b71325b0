"""Guards: what a plugin may change in a process while it works, noticed and put back."""
