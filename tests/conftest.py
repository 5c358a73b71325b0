"""One CPU thread for every test: more of them change floating-point sums, and spin on a busy machine."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before torch or numpy is imported
