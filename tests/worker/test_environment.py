"""Description of processor, libraries and GPU, and errors for a device that does not exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from torch._inductor.exc import InvalidCxxCompiler

from advtransfer.errors import BadInput
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.worker import environment
from advtransfer.worker.environment import (
    describe_environment,
    describe_processor,
    describe_worker,
    require_compiler,
    require_gpu,
)

EPYC = "processor : 0\nmodel name : AMD EPYC 7B13\nflags : fpu sse2 fma avx2 avx\n\nprocessor : 1\nmodel name : other\n"
XEON = "model name : Intel Xeon\nflags : fma avx2 avx512f avx512bw avx512dq avx512vl\n"
OLD = "model name : Nehalem\nflags : sse4_2\n"


@pytest.mark.parametrize(
    ("cpuinfo", "model", "instructions"),
    [(EPYC, "AMD EPYC 7B13", "AVX2"), (XEON, "Intel Xeon", "AVX512"), (OLD, "Nehalem", "DEFAULT")],
)
def test_processor_is_described_by_model_and_instructions(
    cpuinfo: str, model: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment.INSTRUCTION_LIMIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")

    assert describe_processor() == {"model": model, "instructions": instructions, "limits": {}}


def test_instruction_limits_change_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.INSTRUCTION_LIMIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = describe_environment(device="cpu", threads=1)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")

    assert describe_environment(device="cpu", threads=1) != before
    assert describe_processor()["instructions"] == "DEFAULT"
    assert describe_processor()["limits"] == {
        "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Nehalem",
    }


def test_instructions_are_unknown_without_cpuinfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "none")

    assert describe_processor()["instructions"] is None


@pytest.mark.skipif(not environment.CPUINFO.is_file(), reason="this system has no /proc/cpuinfo")
def test_instructions_are_those_that_torch_chooses() -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )

    assert describe_processor()["instructions"] == done.stdout.strip()


def test_a_kernel_batch_that_the_run_names_is_part_of_the_environment() -> None:
    by_rule = describe_environment(device="cpu", threads=1)

    assert "kernel_batch" not in by_rule
    assert {**by_rule, "kernel_batch": 256} == describe_environment(
        device="cpu", threads=1, kernel_batch=256
    )


def test_environment_is_read_without_torch() -> None:
    code = (
        "import sys; from advtransfer.worker.environment import describe_environment; "
        "describe_environment(device='cpu', threads=1); "
    )
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)


@pytest.mark.parametrize(
    "device", ["mps", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA", ""]
)
def test_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(
        BadInput, match=f"found --device {device}; expected cpu, cuda, or a GPU by its number"
    ):
        require_gpu(device)


def test_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pretend_cuda(),
        pytest.raises(BadInput, match=r"--device cuda:3: no usable GPU \(device index 3 of 1\)"),
    ):
        require_gpu("cuda:3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BadInput, match=r"finds no driver|built for CPU only"):
        require_gpu("cuda")
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(BadInput, match=r"no usable GPU \(torch .* was built for CPU only\)"):
        require_gpu("cuda")


def test_gpu_is_described_with_libraries_and_precision() -> None:
    with pretend_cuda():
        found = require_gpu("cuda")
    gpu = describe_environment(device="cuda", threads=1, gpu=found)["gpu"]

    assert require_gpu("cpu") is None
    assert "gpu" not in describe_environment(device="cpu", threads=1)
    assert isinstance(gpu, dict)
    assert (gpu["model"], gpu["capability"], gpu["tf32"]) == ("pretend device", "9.0", False)
    assert {"cuda", "cudnn", "reduced_bfloat16_sums"} < set(gpu)


def test_plugins_of_others_are_described_with_the_libraries_they_require(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my_zoo-1.5.dist-info"
    folder.mkdir()
    requirements = ["click>=1", "torch", "no-such-library", "pandas; extra == 'tables'"]
    lines = [f"Requires-Dist: {requirement}" for requirement in requirements]
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", "Name: my-zoo", "Version: 1.5", *lines, ""])
    )
    monkeypatch.syspath_prepend(tmp_path)

    described = describe_environment(
        device="cpu", threads=1, plugin_distributions=["advtransfer", "my-zoo"]
    )

    # torch is among the libraries of every environment.
    libraries = {"click": version("click"), "no-such-library": None}
    assert described["plugins"] == {"my-zoo": {"version": "1.5", "libraries": libraries}}
    assert "plugins" not in describe_environment(
        device="cpu", threads=1, plugin_distributions=["advtransfer"]
    )


def test_the_compiler_of_compiled_models_is_part_of_the_environment() -> None:
    by_default = describe_environment(device="cpu", threads=1)

    assert "compiler" not in by_default
    assert {**by_default, "compiler": "g++ 14"} == describe_environment(
        device="cpu", threads=1, compiler="g++ 14"
    )


def test_the_worker_asks_for_a_compiler_only_where_models_are_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "require_compiler", "on {}".format)

    def compiler(**options: bool) -> object:
        described = describe_worker(
            device="cpu", threads=1, precision="float32", plugin_distributions=(), **options
        )
        return described.get("compiler")

    assert compiler() is None
    assert compiler(compiled=True) == "on cpu"


def test_a_missing_compiler_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr("advtransfer.worker.compiler.get_cpp_compiler", nothing)
    with pytest.raises(BadInput) as caught:
        require_compiler("cpu")

    assert str(caught.value) == (
        "found --compile, but torch finds no C++ compiler; expected what torch.compile needs; "
        "install g++ or clang, or name one in the variable CXX, or leave --compile out"
    )


def test_missing_header_files_of_python_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any program with an option --version stands for the compiler.
    monkeypatch.setattr("advtransfer.worker.compiler.get_cpp_compiler", lambda: sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(BadInput, match=re.escape(f"--compile, but {tmp_path}/Python.h is missing")):
        require_compiler("cpu")
    (tmp_path / "Python.h").touch()

    assert require_compiler("cpu") == f"Python {sys.version.partition(' ')[0]}"


def test_a_gpu_without_triton_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("advtransfer.worker.compiler.get_cpp_compiler", lambda: sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("advtransfer.worker.compiler.has_triton", lambda: False)

    with pytest.raises(BadInput, match="Triton cannot be used on the GPU"):
        require_compiler("cuda:1")
