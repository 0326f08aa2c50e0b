"""About sixty architectures of torchvision, timm and transformers, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

TORCHVISION = {
    "alexnet": 64, "vgg11": 64, "vgg11_bn": 64, "resnet18": 64, "resnet50": 64,
    "wide_resnet50_2": 64, "resnext50_32x4d": 64, "densenet121": 64, "squeezenet1_0": 64,
    "squeezenet1_1": 64, "googlenet": 64, "inception_v3": 107, "shufflenet_v2_x0_5": 64,
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "mobilenet_v3_large": 64, "mnasnet0_5": 64,
    "efficientnet_b0": 64, "efficientnet_v2_s": 64, "regnet_y_400mf": 64, "regnet_x_400mf": 64,
    "convnext_tiny": 64, "swin_t": 64, "swin_v2_t": 64,
}  # fmt: skip
TIMM = {
    "resnet18": 64, "seresnet18": 64, "resnet26d": 64, "nf_resnet26": 64, "convnext_atto": 64,
    "convnextv2_atto": 64, "efficientnet_lite0": 64, "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small": 64, "ghostnet_050": 64, "repvgg_a0": 64, "regnetx_002": 64,
    "dla34": 64, "darknet53": 64, "vovnet39a": 64, "hrnet_w18_small": 64, "res2net50_14w_8s": 64,
    "skresnet18": 64, "mobileone_s0": 64, "fastvit_t8": 64, "edgenext_xx_small": 64,
    "poolformer_s12": 64, "inception_next_atto": 64,
    "resnext26ts": 64, "tinynet_e": 64, "lcnet_035": 64, "starnet_s1": 64,
}  # fmt: skip
# Networks for one size.
TIMM_OF_ONE_SIZE = {
    "vit_tiny_patch16_224": 64, "deit_tiny_distilled_patch16_224": 64,
    "vit_small_patch14_reg4_dinov2": 56, "mixer_s16_224": 64, "swin_tiny_patch4_window7_224": 64,
    "cait_xxs24_224": 64, "pit_ti_224": 64, "eva02_tiny_patch14_224": 56,
    "xcit_nano_12_p16_224": 64, "efficientformerv2_s0": 224, "beit_base_patch16_224": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network to build, and the size of images that it takes; a fixed one takes no other."""

    name: str
    build: Callable[[], nn.Module]
    size: int
    fixed: bool = False


def with_live_head(model: nn.Module) -> nn.Module:
    """Some heads begin at zero, and then the score depends on nothing."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def of_torchvision(name: str, **options: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from seewhy.models import import_torchvision

        slow = name in ("googlenet", "inception_v3", "vgg11", "vgg11_bn")
        slow_init = {"init_weights": False} if slow else options
        torch.manual_seed(0)
        zoo = import_torchvision().models
        return with_live_head(zoo.get_model(name, weights=None, num_classes=7, **slow_init))

    return build


def of_timm(name: str, size: int | None = None) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from seewhy.models import import_torchvision

        import_torchvision()
        import timm

        more = {"img_size": size} if size else {}
        torch.manual_seed(0)
        return with_live_head(timm.create_model(name, pretrained=False, num_classes=7, **more))

    return build


def of_transformers(kind: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from seewhy.models import import_torchvision

        import_torchvision()
        import transformers

        wide = {"num_labels": 7, "hidden_size": 24, "num_hidden_layers": 2}
        small = {**wide, "num_attention_heads": 3, "intermediate_size": 48, "image_size": 64}
        pyramid = {"num_labels": 7, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 20]}
        windows = {"image_size": 64, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]}
        options = {
            "ViT": {**small, "patch_size": 8},
            "DeiT": {**small, "patch_size": 8},
            "Beit": {**small, "patch_size": 8},
            "Dinov2": {**wide, "num_attention_heads": 3, "image_size": 64, "patch_size": 8},
            "Dinov2WithRegisters": {
                **wide, "num_attention_heads": 3, "image_size": 64, "patch_size": 8
            },
            "ResNet": {**pyramid, "embedding_size": 8},
            "ConvNext": pyramid,
            "ConvNextV2": pyramid,
            "Swin": {**windows, "window_size": 4, "num_labels": 7},
            "MobileNetV2": {"num_labels": 7, "depth_multiplier": 0.35},
        }  # fmt: skip
        config = getattr(transformers, f"{kind}Config")(**options[kind])
        torch.manual_seed(0)
        return with_live_head(getattr(transformers, f"{kind}ForImageClassification")(config))

    return build


NETWORKS = [
    *(Network(f"tv-{name}", of_torchvision(name), size) for name, size in TORCHVISION.items()),
    Network("tv-vit_b_16", of_torchvision("vit_b_16", image_size=64), 64, fixed=True),
    Network("tv-maxvit_t", of_torchvision("maxvit_t"), 224, fixed=True),
    *(Network(f"timm-{name}", of_timm(name), size) for name, size in TIMM.items()),
    *(
        Network(f"timm-{name}", of_timm(name, size), size, fixed=True)
        for name, size in TIMM_OF_ONE_SIZE.items()
    ),
    *(
        Network(f"hf-{kind}", of_transformers(kind), 64, fixed=kind not in ("ResNet", "ConvNext"))
        for kind in (
            "ViT", "DeiT", "Beit", "Dinov2", "Dinov2WithRegisters", "ResNet", "ConvNext",
            "ConvNextV2", "Swin", "MobileNetV2",
        )
    ),
]  # fmt: skip
