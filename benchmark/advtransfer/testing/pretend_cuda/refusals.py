"""CUDA's errors for mixed devices, generators of another device, and nondeterministic kernels.

The operations without a deterministic kernel are those of the second list in the documentation of
``torch.use_deterministic_algorithms`` (torch 2.14), under the names that CUDA's messages give them.
``cumsum`` and ``kthvalue`` of floats are added, since torch 2.4 and 2.5 refuse them. Operations of
the documentation's first list act deterministically and are not here: `functional.interpolate`
(bilinear, without antialiasing) and `functional.pad` (replicate) rewrite themselves in Python when
they get a CUDA tensor.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from advtransfer.testing.pretend_cuda.devices import CpuGenerator, Value, generator_device
from advtransfer.testing.pretend_cuda.tensor import PretendTensor, tensor_device

UNDECIDED_ATTRIBUTE = "undecided_device"
"""The attribute of CPU tensors made by torch's own code, which may meet any device."""

CROSSING = frozenset({"copy_", "copy", "_to_copy", "_foreach_copy_", "set_data"})
"""Operations that copy values between devices."""

INDEXING = frozenset(
    {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
)
"""Operations whose indices may be on the CPU."""

NOT_DETERMINISTIC: Mapping[str, str] = {
    "_adaptive_avg_pool2d_backward": "adaptive_avg_pool2d_backward_cuda",
    "_adaptive_avg_pool3d_backward": "adaptive_avg_pool3d_backward_cuda",
    "adaptive_max_pool2d_backward": "adaptive_max_pool2d_backward_cuda",
    "adaptive_max_pool3d_backward": "adaptive_max_pool3d_backward_cuda",
    "avg_pool3d_backward": "avg_pool3d_backward_cuda",
    "fractional_max_pool2d_backward": "fractional_max_pool2d_backward_cuda",
    "fractional_max_pool3d_backward": "fractional_max_pool3d_backward_cuda",
    "max_unpool2d": "max_unpooling2d_forward_out_cuda",
    "max_unpool3d": "max_unpooling3d_forward_out_cuda",
    "upsample_linear1d_backward": "upsample_linear1d_backward_out_cuda",
    "upsample_bilinear2d_backward": "upsample_bilinear2d_backward_out_cuda",
    "upsample_bicubic2d_backward": "upsample_bicubic2d_backward_out_cuda",
    "upsample_trilinear3d_backward": "upsample_trilinear3d_backward_out_cuda",
    "_upsample_bilinear2d_aa_backward": "upsample_bilinear2d_aa_backward_out_cuda",
    "_upsample_bicubic2d_aa_backward": "upsample_bicubic2d_aa_backward_out_cuda",
    "reflection_pad1d_backward": "reflection_pad1d_backward_out_cuda",
    "reflection_pad2d_backward": "reflection_pad2d_backward_cuda",
    "reflection_pad3d_backward": "reflection_pad3d_backward_out_cuda",
    "replication_pad1d_backward": "replication_pad1d_backward_cuda",
    "replication_pad2d_backward": "replication_pad2d_backward_cuda",
    "replication_pad3d_backward": "replication_pad3d_backward_cuda",
    "nll_loss2d_forward": "nll_loss2d_forward_out_cuda_template",
    "nll_loss2d_backward": "nll_loss2d_backward_out_cuda_template",
    "_ctc_loss_backward": "ctc_loss_backward_gpu",
    "grid_sampler_2d_backward": "grid_sampler_2d_backward_cuda",
    "grid_sampler_3d_backward": "grid_sampler_3d_backward_cuda",
    "put": "put_",
    "put_": "put_",
    "histc": "_histc_cuda with floating point input",
    "bincount": "_bincount_cuda",
    "median": "median CUDA with indices output",
    "nanmedian": "median CUDA with indices output",
    "kthvalue": "kthvalue CUDA",
    "cumsum": "cumsum_cuda_kernel",
    "cumsum_": "cumsum_cuda_kernel",
    "scatter_reduce": "scatter_reduce_cuda_prod_",
    "scatter_reduce_": "scatter_reduce_cuda_prod_",
    "_embedding_bag_dense_backward": "_embedding_bag_dense_backward_cuda",
}
"""The name in CUDA's message for each operator."""

CUBLAS = frozenset(
    {"mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "linear", "matmul", "einsum"}
)
"""Operations of cuBLAS, which are deterministic only with a workspace of fixed size."""


def refuse_mixed_devices(
    name: str, args: Sequence[Value], tensors: Sequence[Tensor], changed: Sequence[Tensor]
) -> None:
    """Raise CUDA's error if an operation mixes devices.

    CPU tensors without dimensions may be mixed with tensors of the device, unless they are changed.

    Args:
        name: The operator's name, without namespace and overload.
        args: The positional arguments of the operation.
        tensors: All tensors among its arguments.
        changed: The tensors that it writes into.

    Raises:
        RuntimeError: CUDA would raise it.
    """
    devices = _pretend_devices(tensors)
    if not devices or name in CROSSING:
        return
    if name in INDEXING:
        indices = [index for index in args[1] if index is not None]
        _refuse_indices(indices, tensor_device(args[0]))
        tensors = [tensor for tensor in tensors if not _is_among(tensor, indices)]
        devices = _pretend_devices(tensors)
    on_cpu = [tensor for tensor in tensors if _is_on_cpu(tensor)]
    is_mixed = any(tensor.dim() > 0 or _is_among(tensor, changed) for tensor in on_cpu)
    if is_mixed and devices:
        devices.append("cpu")
    if len(devices) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(devices)}! (when checking the arguments of {name})"
        )


def _pretend_devices(tensors: Sequence[Tensor]) -> list[str]:
    return sorted({str(tensor.at) for tensor in tensors if isinstance(tensor, PretendTensor)})


def _is_on_cpu(tensor: Tensor) -> bool:
    return not isinstance(tensor, PretendTensor) and not hasattr(tensor, UNDECIDED_ATTRIBUTE)


def _is_among(tensor: Tensor, tensors: Sequence[Tensor]) -> bool:
    # By identity: `in` would compare the values.
    return any(tensor is other for other in tensors)


def _refuse_indices(indices: Sequence[Tensor], device: torch.device) -> None:
    """Raise CUDA's error for indices that are neither on the CPU nor on the device."""
    allowed = (torch.device("cpu"), device)
    if any(tensor_device(index) not in allowed for index in indices):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor "
            f"({device})"
        )


def refuse_generators(found: Sequence[CpuGenerator], device: torch.device) -> None:
    """Raise CUDA's error for a generator of another device.

    Args:
        found: The generators among the arguments of an operation.
        device: The device that computes it.

    Raises:
        RuntimeError: CUDA would raise it.
    """
    for generator in found:
        generator_type = generator_device(generator).type
        if generator_type != device.type:
            raise RuntimeError(
                f"Expected a '{device.type}' device type for generator but found '{generator_type}'"
            )


def refuse_nondeterminism(name: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> None:
    """Raise CUDA's error for a nondeterministic kernel if deterministic ones are required.

    Args:
        name: The operator's name, without namespace and overload.
        args: The positional arguments of the operation on the device.
        kwargs: The keyword arguments.

    Raises:
        RuntimeError: CUDA would raise it.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    if name in CUBLAS and os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
        _raise_or_warn(
            "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
            "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses "
            "CuBLAS and you have CUDA >= 10.2. To enable deterministic behavior in this case, you must set an "
            "environment variable before running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or "
            "CUBLAS_WORKSPACE_CONFIG=:16:8."
        )
    if name in NOT_DETERMINISTIC and not _is_deterministic(name, args, kwargs):
        _raise_or_warn(
            f"{NOT_DETERMINISTIC[name]} does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation, or you "
            "can use the 'warn_only=True' option, if that's acceptable for your application."
        )


def _is_deterministic(name: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> bool:
    """Return True if these arguments select a deterministic kernel after all."""
    if name in ("median", "nanmedian"):
        return len(args) < 2 and "dim" not in kwargs
    if name == "bincount":
        return len(args) < 2 and kwargs.get("weights") is None
    if name in ("histc", "cumsum", "cumsum_"):
        return not args[0].is_floating_point()
    if name.startswith("scatter_reduce"):
        return (args[4] if len(args) > 4 else kwargs.get("reduce")) != "prod"
    if name == "_embedding_bag_dense_backward":
        return int(args[6]) != 2  # the mode "max"
    if name.startswith("nll_loss2d"):
        return int(args[3 if name.endswith("forward") else 4]) == 0  # no reduction
    return False


def _raise_or_warn(message: str) -> None:
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=2)
