"""The command line on the pretend device.

``python -m advtransfer.testing.pretend_cuda run SUITE --device cuda``. Jobs run in this process
(``--executor local/inline``), since worker processes would not have the device.
"""

from __future__ import annotations

import runpy
import sys

from advtransfer.testing.pretend_cuda import pretend_cuda

if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and "--executor" not in sys.argv:
        sys.argv += ["--executor", "local/inline"]
    with pretend_cuda():
        runpy.run_module("advtransfer", run_name="__main__", alter_sys=True)
