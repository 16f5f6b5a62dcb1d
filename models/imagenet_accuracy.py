"""Published accuracies on ImageNet-1K, by which backbones are ranked before anything is trained."""

from __future__ import annotations

from models import timm_bodies, torchvision_bodies

TIMM_TOP1 = {
    "mobilenetv4_conv_small.e2400_r224_in1k": 73.8,
    "tf_efficientnet_lite0.in1k": 74.8,
    "efficientnet_b0.ra_in1k": 77.7,
    "efficientvit_b1.r224_in1k": 79.3,
    "mobilenetv4_conv_medium.e500_r256_in1k": 79.9,
    "resnet50.a1_in1k": 80.4,
    "tiny_vit_5m_224.dist_in22k_ft_in1k": 80.9,
    "repvit_m1_1.dist_450e_in1k": 81.3,
    "swin_tiny_patch4_window7_224.ms_in1k": 81.4,
    "vit_small_patch16_224.augreg_in21k_ft_in1k": 81.4,
    "regnety_032.ra_in1k": 81.9,
    "convnextv2_nano.fcmae_ft_in22k_in1k": 82.0,
    "deit3_small_patch16_224.fb_in22k_ft_in1k": 83.1,
    "tiny_vit_11m_224.dist_in22k_ft_in1k": 83.2,
    "convnextv2_tiny.fcmae_ft_in22k_in1k": 83.9,
    "caformer_s18.sail_in22k_ft_in1k": 84.1,
    "convnext_tiny.in12k_ft_in1k": 84.2,
    "tiny_vit_21m_224.dist_in22k_ft_in1k": 85.1,
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": 85.1,
    "convnext_small.in12k_ft_in1k": 85.2,
    "convnext_base.fb_in22k_ft_in1k": 85.8,
    "vit_base_patch16_clip_224.openai_ft_in12k_in1k": 86.0,
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": 86.2,
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k": 88.7,
}
"""Top-1 accuracy in percent of networks of timm at the size that they were trained at (its results-imagenet.csv). A
name without a tag stands for its first entry here."""


def imagenet_top1(backbone: str) -> float | None:
    """A backbone's published top-1 accuracy in percent; None for a network that is not listed."""
    if backbone in torchvision_bodies.FAMILIES:
        return torchvision_bodies.published_top1(backbone)
    name = backbone.removeprefix(timm_bodies.PREFIX)
    if "." in name:
        return TIMM_TOP1.get(name)
    return next((top1 for known, top1 in TIMM_TOP1.items() if known.partition(".")[0] == name), None)
