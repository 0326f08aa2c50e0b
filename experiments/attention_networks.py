"""Which methods work on which transformers: small networks with random weights, built from configs.

    python experiments/attention_networks.py                 # all of them, as a Markdown table
    python experiments/attention_networks.py swin maxvit     # those whose names hold one of these
    python experiments/attention_networks.py --stages levit  # where a change of a quarter is seen

Every cell is what a run gave: the resolution of the map, or why there is none. Errors are listed
below the table, each once; what is no clear error is marked with !!.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import seewhy
from seewhy.models import import_torchvision

METHODS = [
    "attention_rollout", "attention_gradient", "le_grad", "attention_x_gradient", "grad_cam",
    "layer_cam", "grad_cam+gradual", "grad_cam+multiscale", "tsgb", "auto", "gradient",
]  # fmt: skip
PLAIN = {"depth": 3, "embed_dim": 48, "num_heads": 3}
# timm's names with the image's side and what makes them small.
TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "vit_base_patch16_gap_224": (64, {**PLAIN, "img_size": 64}),
    "vit_base_patch16_siglip_224": (64, {**PLAIN, "img_size": 64}),
    "vit_base_patch16_siglip_gap_224": (64, {**PLAIN, "img_size": 64}),
    "vit_base_patch16_clip_224": (64, {**PLAIN, "img_size": 64}),
    "vit_so150m_patch16_reg4_map_256": (64, {**PLAIN, "img_size": 64}),
    "vit_small_patch14_dinov2": (56, {**PLAIN, "img_size": 56}),
    "vit_small_patch14_reg4_dinov2": (56, {**PLAIN, "img_size": 56}),
    "vit_small_patch16_dinov3": (64, {**PLAIN, "img_size": 64}),
    "vit_base_patch16_rope_mixed_224": (64, {**PLAIN, "img_size": 64}),
    "vit_pe_core_tiny_patch16_384": (64, {**PLAIN, "img_size": 64}),
    "vit_relpos_small_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "flexivit_small": (64, {**PLAIN, "img_size": 64}),
    "naflexvit_base_patch16_gap": (64, PLAIN),
    "naflexvit_base_patch16_map": (64, PLAIN),
    "deit_tiny_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "deit_tiny_distilled_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "deit3_small_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "beit_base_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "beitv2_base_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "beit3_base_patch16_224": (64, {**PLAIN, "img_size": 64}),
    "eva02_tiny_patch14_224": (56, {**PLAIN, "img_size": 56}),
    "eva_large_patch14_196": (56, {**PLAIN, "img_size": 56}),
    "samvit_base_patch16_224": (64, {**PLAIN, "img_size": 64, "global_attn_indexes": (2,)}),
    "aimv2_large_patch14_224": (56, {**PLAIN, "img_size": 56}),
    "convit_tiny": (64, {"img_size": 64, "depth": 4, "local_up_to_layer": 2}),
    "tnt_s_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "crossvit_tiny_240": (240, {}),
    "cait_xxs24_224": (64, {"img_size": 64, "depth": 3}),
    "xcit_nano_12_p16_224": (64, {"img_size": 64, "depth": 3}),
    "volo_d1_224": (224, {}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "depths": (2, 2, 2, 2)}),
    "swinv2_tiny_window8_256": (64, {"img_size": 64, "depths": (2, 2, 2, 2)}),
    "swinv2_cr_tiny_224": (224, {"depths": (2, 2, 2, 2)}),
    "maxvit_rmlp_pico_rw_256": (256, {}),
    "test_maxvit": (160, {}),
    "coatnet_nano_rw_224": (224, {}),
    "coatnext_nano_rw_224": (224, {}),
    "maxxvit_rmlp_nano_rw_256": (256, {}),
    "mobilevit_xxs": (128, {}),
    "mobilevitv2_050": (128, {}),
    "pvt_v2_b0": (64, {}),
    "pit_ti_224": (64, {"img_size": 64}),
    "levit_128s": (224, {}),
    "efficientformer_l1": (224, {}),
    "efficientformerv2_s0": (224, {}),
    "hiera_tiny_224": (224, {"stages": (1, 1, 2, 1)}),
    "hieradet_small": (224, {}),
    "mvitv2_tiny": (224, {}),
    "mvitv2_base_cls": (224, {}),
    "twins_svt_small": (224, {}),
    "twins_pcpvt_small": (224, {}),
    "coat_lite_tiny": (224, {}),
    "coat_tiny": (224, {}),
    "davit_tiny": (128, {"depths": (1, 1, 2, 1)}),
    "gcvit_xxtiny": (224, {}),
    "nest_tiny": (224, {}),
    "visformer_tiny": (224, {}),
    "efficientvit_b0": (64, {}),
    "efficientvit_m0": (224, {}),
    "tiny_vit_5m_224": (224, {}),
    "nextvit_small": (64, {}),
    "shvit_s1": (224, {}),
    "swiftformer_xs": (224, {}),
    "edgenext_xx_small": (64, {}),
    "caformer_s18": (128, {}),
    "vitamin_small_224": (224, {}),
    "botnet26t_256": (256, {}),
    "halonet26t": (256, {}),
    "lambda_resnet26t": (256, {}),
    "focalnet_tiny_srf": (128, {}),
    "fastvit_sa12": (64, {}),
    "repvit_m1": (64, {}),
    "mixer_s16_224": (64, {"img_size": 64}),
}
SIDES = {
    "num_labels": 7, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3,
    "image_size": 64, "patch_size": 8,
}  # fmt: skip
WIDE = {**SIDES, "intermediate_size": 48}
STAGES = {"depths": [1, 1, 1, 1], "num_labels": 7}
WINDOWS = {
    "image_size": 64, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4,
    "num_labels": 7,
}  # fmt: skip
HF: dict[str, tuple[int, dict[str, Any]]] = {
    "ViT": (64, WIDE),
    "ViTMSN": (64, WIDE),
    "DeiT": (64, WIDE),
    "DeiT+WithTeacher": (64, WIDE),
    "Beit": (64, WIDE),
    "Beit+relative": (64, {**WIDE, "use_relative_position_bias": True}),
    "Data2VecVision": (64, WIDE),
    "Dinov2": (64, SIDES),
    "Dinov2WithRegisters": (64, SIDES),
    "IJepa": (64, WIDE),
    "CLIP": (64, {}),
    "Siglip": (64, {}),
    "MetaClip2": (64, {}),
    "Swin": (64, WINDOWS),
    "Swinv2": (64, WINDOWS),
    "Hiera": (
        64, {**STAGES, "image_size": [64, 64], "embed_dim": 12, "num_heads": [1, 2, 4, 8]}
    ),
    "Pvt": (64, {**STAGES, "image_size": 64, "hidden_sizes": [8, 16, 20, 32]}),
    "PvtV2": (64, {**STAGES, "image_size": 64, "hidden_sizes": [8, 16, 40, 64]}),
    "Segformer": (64, {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 40, 64], "num_labels": 7}),
    "MobileViT": (256, {"num_labels": 7, "image_size": 256}),
    "MobileViTV2": (256, {"num_labels": 7, "image_size": 256, "width_multiplier": 0.5}),
    "Levit": (224, {"num_labels": 7}),
    "Cvt": (64, {"num_labels": 7}),
    "FocalNet": (64, {"image_size": 64, "embed_dim": 12, "depths": [1, 1, 1, 1], "num_labels": 7}),
    "PoolFormer": (224, {"num_labels": 7, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 32]}),
    "SwiftFormer": (224, {"num_labels": 7}),
    "ConvNextV2": (64, {"num_labels": 7, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20]}),
}  # fmt: skip
TORCHVISION: dict[str, tuple[int, Callable[[Any], nn.Module]]] = {
    "VisionTransformer": (
        64,
        lambda zoo: zoo.vision_transformer.VisionTransformer(
            64, 16, 3, 3, 48, 96, num_classes=7
        ),
    ),
    "swin_t": (64, lambda zoo: zoo.swin_t(num_classes=7)),
    "swin_v2_t": (64, lambda zoo: zoo.swin_v2_t(num_classes=7)),
    "MaxVit": (
        64,
        lambda zoo: zoo.maxvit.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 16, 0.1, num_classes=7),
    ),
}  # fmt: skip


def alive(model: nn.Module, images: Tensor) -> nn.Module:
    """The network with weights that let the picture through, as initial ones often do not."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if isinstance(module, nn.LayerNorm) and module.weight is not None:
                module.weight.fill_(1)  # some begin at 0
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
                module.momentum = 1.0
        for parameter in model.parameters():  # scales of a block that begin at 1e-5
            if parameter.ndim == 1 and 0 < parameter.abs().max() < 0.1 and parameter.std() == 0:
                parameter.fill_(0.5)
        model.train()(images)  # the statistics of batch norm
    return model.eval()


def of_timm(name: str) -> nn.Module:
    """A network of timm."""
    import timm

    return timm.create_model(name, pretrained=False, num_classes=7, **TIMM[name][1])


def of_hf(name: str) -> nn.Module:
    """A classifier of transformers."""
    import transformers

    kind, _, more = name.partition("+")
    if kind in ("CLIP", "Siglip", "MetaClip2"):
        sides = {key: value for key, value in WIDE.items() if key != "num_labels"}
        config = getattr(transformers, f"{kind}Config")(vision_config=sides)
        config.num_labels = 7
    else:
        config = getattr(transformers, f"{kind}Config")(**HF[name][1])
    ending = f"ForImageClassification{more if more == 'WithTeacher' else ''}"
    return getattr(transformers, kind + ending)(config)


def dinov3() -> nn.Module:
    """Transformers has no classifier of DINOv3: a linear one of the class token."""
    import transformers

    sides = {key: value for key, value in WIDE.items() if key != "num_labels"}
    body = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**sides, num_register_tokens=4))

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = body, nn.Linear(24, 7)

        def forward(self, pixel_values: Tensor) -> Tensor:
            return self.head(self.body(pixel_values).pooler_output)

    return Classifier()


def networks() -> Iterator[tuple[str, int, Callable[[], nn.Module]]]:
    """Names, sides of the image, and how to build."""
    zoo = import_torchvision().models
    for name, (size, make) in TORCHVISION.items():
        yield f"torchvision {name}", size, lambda make=make: make(zoo)
    for name, (size, _) in TIMM.items():
        yield f"timm {name}", size, lambda name=name: of_timm(name)
    for name, (size, _) in HF.items():
        yield f"transformers {name}", size, lambda name=name: of_hf(name)
    yield "transformers DINOv3ViT", 64, dinov3


def tried(model: nn.Module, images: Tensor, method: str) -> str:
    """The resolution of the map, or the error."""
    try:
        maps = seewhy.explain(model, images, method, 1, size="layer")
        alone = seewhy.explain(model, images[1:], method, 1, size="layer")
    except Exception as error:
        clear = isinstance(error, ValueError | TypeError)
        return f"{'' if clear else '!!'}{type(error).__name__}: {error}".replace("\n", " ")
    faults = ""
    if not maps.isfinite().all():
        faults += "!!not finite "
    if maps.flatten(1).std(1).min() == 0:
        faults += "!!flat "
    if maps[1:].shape != alone.shape:
        return f"!!{tuple(maps.shape)} alone {tuple(alone.shape)}"
    if not torch.allclose(maps[1:], alone, rtol=1e-2, atol=1e-2 * float(alone.abs().max())):
        faults += "!!batch "
    return faults + "x".join(map(str, maps.shape[1:]))


def quarters(images: Tensor, seen: Callable[[Tensor], Tensor]) -> tuple[int, float]:
    """How many of 8 quarters are found, and the share of a change that lies in its quarter.

    Each quarter of the two images is changed by itself, and what is seen, (2, h, w, C), should
    change there most. The share is 0.25 where the network mixes the whole image.
    """
    before = seen(images)
    height, width = (side // 2 for side in images.shape[2:])
    right, share = 0, 0.0
    for place in range(4):
        top, left = place // 2 * height, place % 2 * width
        part = (..., slice(top, top + height), slice(left, left + width))
        changed = images.clone()
        changed[part] = images.flip(0)[part]
        moved = (seen(changed) - before).abs().mean(-1)
        moved = torch.nn.functional.adaptive_avg_pool2d(moved, 2).flatten(1)
        right += int((moved.argmax(1) == place).sum())
        share += float((moved[:, place] / moved.sum(1)).mean()) / 4
    return right, share


def layer_of(model: nn.Module, images: Tensor) -> str:
    """The layer that the CAM family reads, and whether its places are those of the image."""
    try:
        probe = seewhy.Probe(model, images, 1)
        right, _ = quarters(
            images, lambda x: probe.with_inputs(x).activations().permute(0, 2, 3, 1)
        )
        return f"{probe.layers[0]} {'!!' * (right < 7)}{right}/8"
    except Exception as error:
        return f"!!{type(error).__name__}: {error}".replace("\n", " ")


def stages(model: nn.Module, images: Tensor) -> Iterator[str]:
    """For the modules that return maps, (C, h, w), or as many tokens as a square has: quarters."""
    for name, module in model.named_modules():
        found: list[Tensor] = []

        def seen(x: Tensor, module: nn.Module = module, found: list[Tensor] = found) -> Tensor:
            handle = module.register_forward_hook(lambda *call: found.append(call[2]))
            with torch.no_grad():
                model(x)
            handle.remove()
            maps = found.pop()
            if maps.ndim == 3:
                return maps.reshape(len(x), *[round(maps.shape[1] ** 0.5)] * 2, -1)
            return maps.permute(0, 2, 3, 1)

        if name.count(".") < 2:
            try:
                right, share = quarters(images, seen)
            except Exception:  # it returns something else
                continue
            yield f"    {name}: {right}/8, share {share:.2f}"


def main(wanted: list[str], by_stage: bool) -> None:
    """Print the table and what was said."""
    said: dict[str, int] = {}
    if not by_stage:
        print("| network | layer |", " | ".join(METHODS), "|")
        print("|---" * (len(METHODS) + 2) + "|")
    for name, size, build in networks():
        if wanted and not any(part.lower() in name.lower() for part in wanted):
            continue
        torch.manual_seed(0)
        try:
            images = torch.randn(2, 3, size, size)
            model = alive(build(), images)
            with torch.no_grad():
                model(images)
        except Exception as error:
            print("|", name, "| not built:", type(error).__name__, str(error)[:200], "|")
            continue
        if by_stage:
            print(name, layer_of(model, images), *stages(model, images), sep="\n")
            continue
        cells = [layer_of(model, images)]
        for method in METHODS:
            cell = tried(model, images, method)
            if "Error" in cell:
                number = said.setdefault(cell, len(said) + 1)
                cell = f"{'!!' * cell.startswith('!!')}[{number}]"
            cells.append(cell)
        print("|", name, "|", " | ".join(cells), "|", flush=True)
    for text, number in said.items():
        print(f"[{number}] {text}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wanted", nargs="*", help="parts of the networks' names; default: all")
    parser.add_argument("--stages", action="store_true", help="where a change of a quarter is seen")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(options.wanted, options.stages)
