"""The evaluation: SecML-Torch finds the nearest adversarial images, their distances give the outcomes."""

import torch
from secmlt.adv.evasion.fmn import FMN
from torch import Tensor, nn

from advtransfer.types import Context, EvaluationInputs, Examples, Measurement, Outcome

ORDERS = {"linf": float("inf"), "l2": 2.0}


class CpuLogits(nn.Module):
    """A model whose logits are on the CPU, where the attack keeps its distances."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        # SecML-Torch moves images to the device of the first parameter, which a model may lack.
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, K)``; SecML-Torch has moved the images to the model's device."""
        return self.model(images).cpu()


class FastMinimumNorm:
    """An evaluation."""

    def __init__(self, *, norm: str, eps: float, steps: int, step_size: float) -> None:
        self.norm, self.eps, self.steps, self.step_size = norm, eps, steps, step_size

    def measure(self, inputs: EvaluationInputs, *, context: Context) -> Measurement:
        """Attack the test images in batches; an image that the model gets wrong is not attacked for it."""
        batches = [
            self._attack(CpuLogits(inputs.model, context.device), inputs.test, positions, context)
            for positions in torch.arange(len(inputs.test)).split(context.batch_size)
        ]
        outcomes, images, distances = map(torch.cat, zip(*batches, strict=True))
        metric = f"robust_accuracy@{self.eps:g}"
        broken = (outcomes == Outcome.BROKEN).nonzero().flatten()
        return Measurement(
            outcomes={metric: outcomes},
            metrics={"distance": float(distances.nanmean().nan_to_num())},
            samples={"distance": distances},
            examples=[Examples(metric, self.norm, self.eps, broken, images[broken])],
        )

    def _attack(self, model, test, positions, context) -> tuple[Tensor, Tensor, Tensor]:
        images, labels = test.inputs(positions), test.labels(positions)
        # One attack a batch, since it keeps the radii of the last one.
        attack = FMN(self.norm, self.steps, self.step_size)
        # A list, since a DataLoader draws from torch's global random state.
        ((found, _),) = attack(model, [(images, labels)], stream=True)
        with torch.no_grad():
            is_wrong = model(images.to(context.device)).argmax(1) != labels
            is_adversarial = model(found.to(context.device)).argmax(1) != labels
        change = (found.double() - images.double()).flatten(1)
        distances = change.norm(p=ORDERS[self.norm], dim=1)
        distances[is_wrong | ~is_adversarial] = torch.nan
        outcomes = torch.full((len(images),), int(Outcome.ROBUST), dtype=torch.uint8)
        outcomes[distances <= self.eps] = int(Outcome.BROKEN)
        outcomes[is_wrong] = int(Outcome.WRONG)
        context.progress(int(positions[-1]) + 1, len(test))
        return outcomes, found.detach(), distances
