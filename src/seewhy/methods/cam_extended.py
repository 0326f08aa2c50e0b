"""CAMs that need more than activations and gradients: the head, other classes, noisy images, or
second derivatives.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.core.targets import Class, Score, Target
from seewhy.maps import averaged, means, of_images, sums, wide
from seewhy.methods.cam import weighted, weights_of_derivatives
from seewhy.naming import method, parse
from seewhy.noise import noisy_copies
from seewhy.options import Count, NotNegative, Range, Seed
from seewhy.progress import tracked


@method("Zhou et al. 2016, CAM, eq. 2", "F + h")
def cam(probe: Probe) -> Tensor:
    """Σ_k w_k A_k with the classifier's own weights, signed.

    If the score is affine in A and all positions have equal weight, such as a logit with global
    average pooling + Linear, w_k = Σ_ij G_k is the Linear's weight.

    Raises ValueError for other heads.
    """
    maps = []
    for layer in probe.layer_calls:
        gradients = probe.gradients(layer)
        mean = of_images(means(gradients), gradients)
        # Places may differ by rounding.
        alike = (gradients - mean).abs().max() <= 1e-2 * gradients.abs().max()
        if not (probe.affine(layer) and alike):
            raise ValueError(
                f"CAM needs global average pooling and one linear layer behind "
                f"{', '.join(probe.layers)!r}, and a logit as the target; 'grad_cam' is the same "
                "map there and works for every head"
            )
        activations = probe.activations(layer)
        weights = sums(gradients).to(activations)
        maps.append(torch.einsum("bk,bk...->b...", weights, activations))
    return averaged(maps, probe.size)


@method("Zhang et al. 2025, Finer-CAM", "F + h")
def finer_cam(
    probe: Probe,
    *,
    references: Annotated[int, Range(least=1)] | None = None,
    strength: Annotated[float, Range(least=-1e6, most=1e6)] = 0.6,
    base: Annotated[str, parse] = "grad_cam",
) -> Tensor:
    """A CAM of y_c - strength · the mean logit of the classes with the nearest logits.

    This subtracts what the class shares with similar classes. pytorch-grad-cam weights the classes
    by their probabilities, with gradients through these weights.

    references: how many classes; by default 3, or all others of a network with fewer.
    strength: the weight of their mean logit; 0 gives the CAM of the class itself.
    base: the name of the CAM, which may have options and refinements.

    Raises ValueError for targets other than a class, and for options out of range.
    """
    classes = explained_classes(probe, "finer_cam")
    scores = probe.logits
    others = scores.shape[1] - 1
    if not others:
        raise ValueError(
            "finer_cam compares a class with others, and the network has one class alone; use its "
            "base by itself, such as 'grad_cam'"
        )
    references = min(3, others) if references is None else references
    if not 1 <= references <= others:
        raise ValueError(
            f"references={references}; of {others + 1} classes it should be from 1 to {others}"
        )
    own = _column(classes, scores)
    distances = (scores - scores.gather(1, own)).abs().scatter(1, own, torch.inf)
    nearest = distances.topk(references, dim=1, largest=False).indices.tolist()
    finer = _Finer(classes, nearest, strength)
    return parse(base)(probe.with_target(probe.target.asking(finer)))


@dataclass(frozen=True, eq=False)
class _Finer(Target):
    """y_c - strength · the mean of other logits, which each image has its own of."""

    classes: list[int]
    references: list[list[int]]
    strength: float

    def __call__(self, outputs: Any) -> Tensor:
        scores = logits(outputs)
        others = scores.gather(1, torch.tensor(self.references, device=scores.device)).mean(1)
        return scores.gather(1, _column(self.classes, scores))[:, 0] - self.strength * others


@method("Cai 2025, CAMs as Shapley value-based explainers (ShapleyCAM)", "F + 2h")
def shapley_cam(probe: Probe, *, utility: Literal["rest", "score"] = "rest") -> Tensor:
    """relu(Σ_k w_k A_k), w_k = mean_ij (G - ½ (∂²score/∂A²) A)_k: Shapley values to second order.

    utility: "rest" explains y_c + log p_c of a class (the paper's residual softmax), "score" the
        target itself. If that is piecewise linear, as logits of many networks are, the map equals
        Grad-CAM's.

    Raises ValueError for "rest" with targets other than a class.
    """
    if utility == "rest":
        classes = explained_classes(probe, "shapley_cam(utility='rest')")
        rest = Score(lambda outputs: _residual_softmax(logits(outputs), classes))
        probe = probe.with_target(probe.target.asking(rest))
    maps = []
    for layer in probe.layer_calls:
        weights = probe.gradients(layer) - probe.hessian_product(layer) / 2
        maps.append(weighted(means(weights), probe.activations(layer)))
    return averaged(maps, probe.size)


def _residual_softmax(scores: Tensor, classes: list[int]) -> Tensor:
    return (scores + scores.log_softmax(1)).gather(1, _column(classes, scores))[:, 0]


def _column(classes: list[int], scores: Tensor) -> Tensor:
    return torch.tensor(classes, device=scores.device)[:, None]


@method("Omeiza et al. 2019, Smooth Grad-CAM++", "F + N (F + h)")
def smooth_grad_cam_plus_plus(
    probe: Probe,
    *,
    samples: Count = 8,
    noise: NotNegative = 0.15,
    seed: Seed = 0,
    eps: NotNegative = 1e-6,
) -> Tensor:
    """Grad-CAM++ with the derivatives averaged over noisy copies of the image.

    Weights and map use the activations of the image itself. torch-cam uses the activations and the
    gradient of the last noisy copy alone, and adds up A ⊙ D³ over positions where the paper has
    ΣA · D³.

    samples: noisy copies.
    noise: standard deviation as a share of each image's range of values.
    seed: of the noise, which is the same for all images.
    eps: as in `grad_cam_plus_plus`.
    """
    means = {
        layer: [torch.zeros_like(wide(probe.activations(layer)))] * 3 for layer in probe.layer_calls
    }
    copies = noisy_copies(probe.inputs, samples, noise, seed)
    for copy in tracked("Smooth Grad-CAM++", copies, samples):
        at = probe.with_inputs(copy)
        for layer, mean in means.items():
            gradients = wide(at.gradients(layer))
            means[layer] = [
                m + gradients**p / samples for m, p in zip(mean, (1, 2, 3), strict=True)
            ]
    maps = []
    for layer, (first, second, third) in means.items():
        activations = probe.activations(layer)
        weights = weights_of_derivatives(activations, first, second, third, eps)
        maps.append(weighted(weights, activations))
    return averaged(maps, probe.size)


def explained_classes(probe: Probe, what: str) -> list[int]:
    """The class of each image; a ValueError where the target is something else."""
    target = probe.target.question
    if not isinstance(target, Class):
        raise ValueError(f"{what} explains one class per image, not {type(target).__name__}")
    probe.scored()  # raises for a class out of range
    count = len(probe.inputs)
    return [target.classes] * count if isinstance(target.classes, int) else [*target.classes]
