"""A pretend GPU for tests: as strict as CUDA about devices, computed on the CPU.

```python
from advtransfer.testing.pretend_cuda import pretend_cuda

with pretend_cuda():
    weights = my_plugin.my_source(data=toy()).weights(InMemoryContext(seed=0, device=torch.device("cuda")))
```

Inside, ``torch.cuda`` has one device (or several). A tensor on it refuses what a tensor on a real one refuses, with the
same kind of error and CUDA's words: operations with a CPU tensor that has dimensions, a generator of the other device,
``.numpy()``, and, under ``torch.use_deterministic_algorithms(True)``, kernels of which CUDA has no deterministic form.
What is allowed gives the bits that the CPU gives, so that results can be compared exactly. Where
torch's versions differ, the pretend device is as strict as the oldest one that this package allows.

It is no GPU in four ways: it has no streams, kernels and memory of its own; autocast for CUDA chooses operations as
that of the CPU does, for CPU tensors too; ``tensor.data = other`` moves nothing between devices; and the memory that
``data_ptr`` points to is the CPU's.

The parts: `tensor` is the tensor, `calls` what is called from Python, `operations` every operation below that,
`refusals` what CUDA refuses, `generators` randomness, `patches` what stands for ``torch.cuda``, `place` devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from advtransfer.testing.pretend_cuda.calls import CallMode, call_function
from advtransfer.testing.pretend_cuda.devices import device_registry as known
from advtransfer.testing.pretend_cuda.operations import OperationMode, run_operation
from advtransfer.testing.pretend_cuda.patches import patch_torch
from advtransfer.testing.pretend_cuda.tensor import PretendTensor

PretendTensor.call = staticmethod(call_function)
PretendTensor.operate = staticmethod(run_operation)


@contextmanager
def pretend_cuda(devices: int = 1) -> Iterator[None]:
    """Inside, in this thread, torch has so many pretend CUDA devices; afterwards everything is as it was.

    Args:
        devices: How many.

    Raises:
        RuntimeError: There are pretend devices already.
    """
    if known.count:
        raise RuntimeError(
            "found a pretend device inside another; expected one; name the number of devices in it"
        )
    with ExitStack() as stack:
        stack.enter_context(patch_torch(devices))
        stack.enter_context(OperationMode())  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        stack.enter_context(CallMode())
        yield


__all__ = ["PretendTensor", "pretend_cuda"]
