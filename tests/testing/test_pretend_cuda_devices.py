"""What CUDA refuses of tensors and generators, the pretend device refuses; what it allows gives the CPU's bits."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.pretend_cuda import pretend_cuda

CUDA = torch.device("cuda", 0)
MIXED = (
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
)
NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()"
INDICES = r"indices should be either on cpu or on the same device as the indexed tensor \(cpu\)"


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with pretend_cuda():
        yield


def here(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def there(*shape: int) -> Tensor:
    return here(*shape).to("cuda")


Act = Callable[[], Any]  # Any: never looked at


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: there(3) + here(3), RuntimeError, MIXED),
        (lambda: there(2, 3) @ here(3, 2), RuntimeError, MIXED),
        (lambda: torch.where(there(3) > 0, there(3), here(3)), RuntimeError, MIXED),
        (lambda: torch.cat([there(3), here(3)]), RuntimeError, MIXED),
        (lambda: torch.stack([there(3), here(3)]), RuntimeError, MIXED),
        (lambda: functional.cross_entropy(there(2, 3), torch.tensor([0, 1])), RuntimeError, MIXED),
        (lambda: nn.Linear(3, 2)(there(1, 3)), RuntimeError, MIXED),
        (lambda: nn.BatchNorm1d(3).cuda()(here(4, 3)), RuntimeError, MIXED),
        (lambda: torch.add(there(3), there(3), out=here(3)), RuntimeError, MIXED),
        (lambda: here(3).add_(there(3)), RuntimeError, MIXED),
        (lambda: torch.tensor(1.0).add_(there(1)[0]), RuntimeError, MIXED),
        (lambda: there(3).index_select(0, torch.tensor([1])), RuntimeError, MIXED),
        (lambda: there(3).__setitem__(torch.tensor([0, 1]), here(2)), RuntimeError, MIXED),
        (lambda: torch.equal(there(3), here(3)), RuntimeError, MIXED),
        (lambda: here(3)[torch.tensor([1], device="cuda")], RuntimeError, INDICES),
        (lambda: here(3)[there(3) > 0], RuntimeError, INDICES),
        (lambda: there(3).numpy(), TypeError, NUMPY),
        (lambda: np.asarray(there(3)), TypeError, NUMPY),
        (lambda: np.add(there(3), 1), TypeError, NUMPY),
        (
            lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
            RuntimeError,
            "Expected a 'cuda' device type for generator but found 'cpu'",
        ),
        (
            lambda: there(3).bernoulli_(generator=torch.Generator()),
            RuntimeError,
            "Expected a 'cuda' device type for generator but found 'cpu'",
        ),
        (
            lambda: torch.randperm(3, generator=torch.Generator("cuda")),
            RuntimeError,
            "Expected a 'cpu' device type for generator but found 'cuda'",
        ),
        (lambda: torch.zeros(1, device="cuda:1"), RuntimeError, "invalid device ordinal"),
        (
            lambda: setattr(there(3).requires_grad_(), "grad", here(3)),
            RuntimeError,
            "on a different device",
        ),
    ],
)
def test_operations_that_cuda_refuses_raise_its_message(
    act: Act, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        act()


@pytest.mark.parametrize(
    "act",
    [
        lambda: there(3) + torch.tensor(2.0),
        lambda: there(3) * 2,
        lambda: there(3)[torch.tensor([1])],
        lambda: there(3)[torch.tensor([True, False, True])],
        lambda: torch.empty(3, device="cuda").copy_(here(3)),
        lambda: there(2, 3).new_zeros(3),
        lambda: torch.zeros_like(here(3), device="cuda"),
        lambda: torch.tensor([1.0, 2.0], device="cuda"),
        lambda: torch.as_tensor(np.ones(3), device="cuda"),
        lambda: torch.from_numpy(np.ones(3)).cuda(),
        lambda: torch.arange(3, device="cuda") + torch.eye(3, device="cuda"),
        lambda: functional.one_hot(torch.tensor([1, 0], device="cuda"), 3),
        lambda: there(2, 3).to(torch.float64),
        lambda: here(3).to(there(1)),
        lambda: nn.Linear(3, 2, device="cuda")(there(1, 3)),
        lambda: torch.func.vmap(lambda row: row * 2)(there(2, 3)),
    ],
)
def test_results_of_allowed_operations_are_on_the_device(act: Callable[[], Tensor]) -> None:
    found = act()

    assert (CUDA, True, False, 0) == (found.device, found.is_cuda, found.is_cpu, found.get_device())


def test_values_come_back_through_the_cpu_alone() -> None:
    tensor = there(2, 3)

    np.testing.assert_array_equal(tensor.cpu().numpy(), here(2, 3).numpy())
    assert tensor.tolist() == here(2, 3).tolist()
    assert float(tensor[0, 0]) == tensor[0, 0].item() == here(2, 3)[0, 0].item()
    assert torch.tensor([tensor[0, 0], 1.0]).device.type == "cpu"
    assert torch.zeros_like(tensor, device="cpu").device.type == "cpu"


def test_views_share_their_values_and_writes_are_seen() -> None:
    tensor = there(2, 3)
    tensor[0] += 1
    tensor.unsqueeze_(0)
    tensor[0, 1] = here(3)  # a slice may be written from the CPU

    assert tensor.shape == (1, 2, 3)
    assert torch.equal(tensor.cpu()[0], torch.stack([here(2, 3)[0] + 1, here(3)]))


def training(device: str, *, steps: int = 3) -> tuple[dict[str, Tensor], Tensor]:
    """Weights and second-order gradients of a small network after some steps."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 3),
    )
    weight = model[0].weight
    moved = model.to(device)
    assert moved[0].weight is weight  # optimisers made before the move hold it
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    labels = torch.tensor([0, 1, 2, 0], device=device)
    torch.manual_seed(1)  # dropout draws from the state of its device
    for _ in range(steps):
        loss = functional.cross_entropy(model(here(4, 1, 4, 4).to(device)), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it bare
        optimiser.step()
    images = here(4, 1, 4, 4).to(device).requires_grad_()
    (slopes,) = torch.autograd.grad(model(images).topk(2).values.sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(slopes.square().sum().cpu(), images)
    optimiser.load_state_dict(optimiser.state_dict())
    assert {str(one.device) for one in (*model.state_dict().values(), second)} == {
        "cuda:0" if device == "cuda" else "cpu"
    }
    return {name: values.cpu() for name, values in model.state_dict().items()}, second.cpu()


def test_a_training_gives_the_bits_of_the_cpu() -> None:
    (weights, second), (expected, other) = training("cuda"), training("cpu")

    assert all(torch.equal(values, expected[name]) for name, values in weights.items())
    assert torch.equal(second, other)


def test_gradients_flow_back_over_a_move_in_both_orders() -> None:
    images = here(3).requires_grad_()
    moved = images.cuda().square().cpu().pow(2).cuda()
    (first,) = torch.autograd.grad(moved.sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), images)

    torch.testing.assert_close(first, 4 * images**3)
    torch.testing.assert_close(second, 12 * images**2)


def test_copies_pickles_and_files_keep_device_and_values() -> None:
    model = nn.Linear(3, 2).cuda()
    twin = copy.deepcopy(model)
    read = pickle.loads(pickle.dumps(there(3)))
    twin.load_state_dict({name: values.cpu() + 1 for name, values in model.state_dict().items()})

    assert isinstance(twin.weight, nn.Parameter)
    assert (twin.weight.device, read.device) == (CUDA, CUDA)
    assert torch.equal(twin.weight.cpu(), model.weight.cpu() + 1)
    assert torch.equal(load(save({"a": there(3)}))["a"], here(3))
    assert twin.cpu().weight.device.type == "cpu"


def test_the_device_has_a_separate_random_state() -> None:
    state = torch.get_rng_state()
    torch.cuda.manual_seed(5)
    drawn = torch.rand(3, device="cuda")
    kept = functional.dropout(there(8), 0.5)
    later = torch.cuda.get_rng_state()
    with torch.random.fork_rng(devices=[CUDA]):
        torch.rand(3, device="cuda")

    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.cuda.get_rng_state(), later)
    assert torch.equal(drawn.cpu(), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(
        drawn.cpu(),
        torch.rand(3, device="cuda", generator=torch.Generator("cuda").manual_seed(5)).cpu(),
    )
    assert 0 < int((kept == 0).sum()) < 8


def test_views_work_in_inference_mode_and_autocast() -> None:
    tensor, layer = there(4, 3), nn.Linear(3, 2).cuda()
    with torch.inference_mode():
        parts, made = torch.split(tensor, 2), layer(tensor)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        short = layer(tensor)

    assert [part.is_inference() for part in parts] == [False, False]
    assert (made.is_inference(), made.device) == (True, CUDA)
    assert (short.dtype, short.device) == (torch.bfloat16, CUDA)
