"""Outputs of a model under an attack on itself, remembered for all evaluations that ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from advtransfer.types import Context, Json, Samples
from advtransfer_alignment.attacks import attack_to_json, compute_perturbations
from advtransfer_alignment.models import AdaptedModel, outputs_at
from advtransfer_alignment.options import Attack, Spectrum


@dataclass(frozen=True, slots=True)
class WhiteBoxOutputs:
    """One model under its own attack.

    ``(N, *shape)`` perturbations, and the ``(N, d)`` outputs without and with them.
    """

    delta: Tensor
    outputs: Tensor
    attacked: Tensor


def white_box_pair(
    source: AdaptedModel,
    reference: AdaptedModel,
    samples: Samples,
    *,
    attack: Attack,
    spectrum: Spectrum,
    seed: int,
    context: Context,
) -> tuple[WhiteBoxOutputs, WhiteBoxOutputs]:
    """Return the source and the reference, each under the attack on itself.

    Each is remembered, since it depends on no other model.

    Args:
        source: f_S.
        reference: f_T.
        samples: The samples to perturb.
        attack: The attack.
        spectrum: How the singular directions that it may follow are computed.
        seed: Seed of the attack's random starts.
        context: Device, random streams and memory.
    """
    key = memory_key(attack_to_json(attack, spectrum=spectrum), seed, samples)

    def remembered(model: AdaptedModel, what: str, of: tuple[str, ...]) -> WhiteBoxOutputs:
        def build() -> dict[str, Tensor]:
            delta = compute_perturbations(
                model.outputs, samples, attack=attack, spectrum=spectrum, context=context
            )
            return {
                "delta": delta,
                "outputs": outputs_at(model.outputs, samples, None, context=context),
                "attacked": outputs_at(model.outputs, samples, delta, context=context),
            }

        arrays = context.remember(what, key, build, of=of)
        return WhiteBoxOutputs(
            delta=arrays["delta"],
            outputs=arrays["outputs"].double(),
            attacked=arrays["attacked"].double(),
        )

    return (
        remembered(source, "source adversarials", ("source", "adapter", "test")),
        remembered(reference, "reference adversarials", ("reference", "test")),
    )


def memory_key(attack: Mapping[str, Json] | None, seed: int, samples: Samples) -> dict[str, Json]:
    """Return the key under which arrays of an attack on these samples are remembered."""
    # A data set identified by its name may have other content in another run, hence the digest.
    # The version must be raised when the same options give other arrays.
    return {"version": 1, "attack": attack, "seed": seed, "content": samples.card.digest}
