"""Score-CAM and its variants: channels weighted by the score of the image that they mask.

Each channel is a mask: its map at the size of the image, scaled to [0, 1]. The forward passes serve
all targets of a probe (`probe.with_target`), and no gradient is asked for.
"""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from seewhy.core.layers import Call
from seewhy.core.probe import Probe
from seewhy.maps import normalize, of_images, upsample
from seewhy.methods.cam import weighted_layers
from seewhy.methods.perturbation import responses
from seewhy.naming import method
from seewhy.noise import normal
from seewhy.options import Count, NotNegative, Seed
from seewhy.progress import BatchSize

# (masks (n, B, H, W) of some channels, their samples (n,), their channels (n,)) -> other masks
Change = Callable[[Tensor, Tensor, Tensor], Tensor]


@method("Wang et al. 2020, Score-CAM, algorithm 1", "F + K F for all targets together")
def score_cam(probe: Probe, *, batch_size: BatchSize = "auto") -> Tensor:
    """relu(Σ_k w_k A_k), w the softmax over channels of the score of the image under channel k.

    As published, channels are first upsampled and then scaled to [0, 1]; the score of the baseline
    image, the same for all channels, cancels in the softmax. pytorch-grad-cam upsamples with
    align_corners=True, and torch-cam scales before it upsamples.
    """

    def unchanged(masks: Tensor, samples: Tensor, channels: Tensor) -> Tensor:
        return masks

    return _cam(probe, "Score-CAM", (), 1, unchanged, batch_size)


@method("Wang et al. 2020, SS-CAM", "F + N K F for all targets together")
def ss_cam(
    probe: Probe,
    *,
    samples: Count = 35,
    noise: NotNegative = 2.0,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Score-CAM with the mean score of noisy masks.

    samples: noisy copies of each channel's mask.
    noise: standard deviation, in units of the mask, which lies in [0, 1].
    seed: of the noise, which is the same for all images.
    """

    def noisy(masks: Tensor, samples: Tensor, channels: Tensor) -> Tensor:
        speckles = [
            _noise(masks.shape[2:], seed, sample, channel)
            for sample, channel in zip(samples.tolist(), channels.tolist(), strict=True)
        ]
        return masks + noise * torch.stack(speckles)[:, None].to(masks)

    return _cam(probe, "SS-CAM", (samples, noise, seed), samples, noisy, batch_size)


def _noise(size: torch.Size, seed: int, sample: int, channel: int) -> Tensor:
    # A seed for each mask: its noise does not depend on which masks share a pass.
    own = (0x9E3779B1 * seed + (sample << 20) + channel) % 2**32  # a generator reads no more bits
    return normal(size, torch.Generator().manual_seed(own))


@method("Naidu et al. 2020, IS-CAM", "F + N K F for all targets together")
def is_cam(probe: Probe, *, steps: Count = 10, batch_size: BatchSize = "auto") -> Tensor:
    """Score-CAM with the score integrated while the mask grows from black: mean_i score(i/N M ⊙ x).

    torch-cam's factors add up (1/N, 3/N, 6/N …), so its masked images are brighter than the image.
    """

    def scaled(masks: Tensor, samples: Tensor, channels: Tensor) -> Tensor:
        return masks * of_images((samples + 1).to(masks) / steps, masks)

    return _cam(probe, "IS-CAM", (steps,), steps, scaled, batch_size)


def channel_masks(activations: Tensor, size: torch.Size) -> Tensor:
    """Channels at the size of the image, scaled to [0, 1]: (B, k, H, W); constant ones are 0."""
    maps = normalize(upsample(activations.flatten(0, 1), size), len(size))
    # Upsampling lets rounding errors into a constant channel, which must not become its mask.
    flat = activations.flatten(2)
    constant = of_images((flat.amin(2) == flat.amax(2)).flatten(), maps)
    return maps.masked_fill(constant, 0).view(*activations.shape[:2], *size)


def score_weights(
    probe: Probe,
    layer: Call,
    what: str,
    key: Hashable,
    samples: int,
    change: Change,
    batch_size: BatchSize = "auto",
    masks_of: Callable[[Tensor, torch.Size], Tensor] = channel_masks,
) -> Tensor:
    """The softmax over channels of their masks' mean scores: (B, K).

    what, key: name the masks (see `seewhy.methods.perturbation.responses`).
    samples, change: how many masks each channel has, and how they differ from the channel's own.
    """
    activations = probe.activations(layer)
    count, size = activations.shape[1], probe.size

    def masks(part: slice) -> Tensor:
        index = torch.arange(part.start, part.stop, device="cpu")
        own = masks_of(activations[:, index % count], size).transpose(0, 1)
        return change(own, index // count, index % count)[:, :, None]

    scores = responses(probe, what, (layer, key), masks, samples * count, batch_size=batch_size)
    return scores.view(samples, count, -1).mean(0).T.softmax(1)


def _cam(
    probe: Probe, what: str, key: Hashable, samples: int, change: Change, batch_size: BatchSize
) -> Tensor:
    return weighted_layers(
        probe, lambda layer: score_weights(probe, layer, what, key, samples, change, batch_size)
    )
