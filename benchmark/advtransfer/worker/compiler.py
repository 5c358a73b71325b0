"""The compiler that torch uses for ``--compile``. Imports torch's compiler, which takes seconds."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._triton import has_triton

from advtransfer.errors import AdvTransferError


class CompilerMissing(AdvTransferError):
    """Something is missing that `torch.compile` needs; `next_step` is what to do."""

    def __init__(self, missing: str, next_step: str) -> None:
        super().__init__(missing)
        self.next_step = next_step


def find_compiler(device: str) -> str:
    """Return the C++ compiler that torch finds, as the first line of its ``--version``.

    Args:
        device: The device of the models, such as ``cpu`` or ``cuda:1``.

    Raises:
        CompilerMissing: There is no C++ compiler, Python's header files are missing, or Triton is on a GPU.
    """
    try:
        command = get_cpp_compiler()
        version = subprocess.run(
            [command, "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (InvalidCxxCompiler, OSError, subprocess.CalledProcessError) as error:
        raise CompilerMissing(
            "torch finds no C++ compiler", "install g++ or clang, or name one in the variable CXX"
        ) from error
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise CompilerMissing(
            f"{header} is missing", "install the header files of this Python (python3-dev)"
        )
    if device != "cpu" and not has_triton():
        raise CompilerMissing(
            "Triton cannot be used on the GPU", "install triton, and use a GPU that it supports"
        )
    return version.partition("\n")[0].strip()
