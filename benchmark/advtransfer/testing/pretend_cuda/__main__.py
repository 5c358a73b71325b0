"""``python -m advtransfer.testing.pretend_cuda run SUITE --device cuda``: the command line on the pretend device.

Jobs run in this process (``--executor local/inline``): worker processes of their own would not have the device.
"""

from __future__ import annotations

import sys

from advtransfer.cli import main
from advtransfer.testing.pretend_cuda import pretend_cuda

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and "--executor" not in arguments:
        arguments += ["--executor", "local/inline"]
    with pretend_cuda():
        main(arguments)
