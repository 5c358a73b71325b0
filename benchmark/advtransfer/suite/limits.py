"""How large a suite may be: what is larger is a slip of the keyboard, and would be planned for hours."""

from __future__ import annotations

MOST_CELLS = 10_000
"""Sources, adapters, transfers, evaluations and data sets together, each point of a sweep and each replicate."""
MOST_TRIALS = 100_000
MOST_RESULTS = 1_000_000
LONGEST_TITLE = 300
LONGEST_LABEL = 160
"""Labels stand in tables, in the names of figures, and before every metric."""
MOST_PIXELS = 4096
"""Of a side to which images are resized: one batch of larger ones takes tens of gigabytes."""
