"""A pretend GPU for tests: as strict as CUDA about devices, computed on the CPU.

```python
from advtransfer.testing.pretend_cuda import pretend_cuda

with pretend_cuda():
    context = InMemoryContext(seed=0, device="cuda")
    weights = my_plugin.my_source(data=toy()).weights(context)
```

In the block, ``torch.cuda`` has one device (or several). A tensor on it refuses the same operations
as one on a real GPU, with the same kind of error and CUDA's message: operations with a CPU tensor
that has dimensions, a generator of another device, ``.numpy()``, and, under
``torch.use_deterministic_algorithms(True)``, kernels that have no deterministic form in CUDA.
Allowed operations give the same bits as on the CPU, so that results can be compared exactly. Where
versions of torch differ, the pretend device is as strict as the oldest version that this package
supports.

It differs from a GPU in four ways. It has no streams, no kernels and no memory. Autocast for CUDA
chooses operations as autocast for the CPU does, for CPU tensors too. ``tensor.data = other`` moves
nothing between devices. ``data_ptr`` points to memory of the CPU.

Modules: `tensor` has the tensor class, `calls` handles calls from Python, `operations` every
operation below them, `refusals` CUDA's errors, `devices` devices and generators, and `patches` the
replacements in ``torch.cuda``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from advtransfer.testing.pretend_cuda.calls import CallMode, call_function
from advtransfer.testing.pretend_cuda.devices import device_registry
from advtransfer.testing.pretend_cuda.operations import OperationMode, run_operation
from advtransfer.testing.pretend_cuda.patches import patch_torch
from advtransfer.testing.pretend_cuda.tensor import PretendTensor

# Set here, since both modules make tensors and import this class.
PretendTensor.call = staticmethod(call_function)
PretendTensor.operate = staticmethod(run_operation)


@contextmanager
def pretend_cuda(devices: int = 1) -> Iterator[None]:
    """Give torch pretend CUDA devices in this thread for the block; undo everything after it.

    Args:
        devices: The number of devices.

    Raises:
        RuntimeError: There are pretend devices already.
    """
    if device_registry.count:
        raise RuntimeError(
            "found a pretend device inside another; expected one; name the number of devices in it"
        )
    with ExitStack() as stack:
        stack.enter_context(patch_torch(devices))
        stack.enter_context(OperationMode())  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        stack.enter_context(CallMode())
        yield


__all__ = ["PretendTensor", "pretend_cuda"]
