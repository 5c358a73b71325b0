"""Data sets: files read, decoded and checked, or generated."""
