"""The networks from PyTorch's own layers; its BatchNorm momentum is the share of the new value."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks import networks as n

_NORM = {"eps": n.BATCH_NORM_EPSILON, "momentum": 1 - n.BATCH_NORM_MOMENTUM}


def make_network(name: str, image_shape: Sequence[int]) -> nn.Module:
    """Makes one of ``NETWORKS``, of ``[B, channels, height, width]`` images in [0, 1].

    Args:
        name: one of ``NETWORKS``.
        image_shape: ``(height, width, channels)``.
    """
    return {"article": _article, "resnet": _resnet, "m3": _m3, "separable": _separable}[name](*image_shape)


def _article(height: int, width: int, channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for i, features in enumerate(n.ARTICLE_FEATURES):
        layers += [nn.Conv2d(channels, features, n.KERNEL_SIZE), nn.BatchNorm2d(features, **_NORM), nn.ReLU()]
        channels, height, width = features, height - n.KERNEL_SIZE + 1, width - n.KERNEL_SIZE + 1
        if i in n.ARTICLE_POOL_AFTER:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(height * width * channels, n.ARTICLE_DENSE_FEATURES)]
    layers += [nn.BatchNorm1d(n.ARTICLE_DENSE_FEATURES, **_NORM), nn.ReLU(), nn.Dropout(n.DROPOUT_RATE)]
    return nn.Sequential(*layers, nn.Linear(n.ARTICLE_DENSE_FEATURES, n.NUM_CLASSES))


class ResidualBlock(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, features, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(features, **_NORM),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features, **_NORM),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != features:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features, **_NORM)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the block's activations."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def _resnet(height: int, width: int, channels: int) -> nn.Module:
    layers = _stem(channels, n.RESNET_STEM_FEATURES)
    channels = n.RESNET_STEM_FEATURES
    for features, stride in n.RESNET_BLOCKS:
        layers.append(ResidualBlock(channels, features, stride))
        channels = features
    return nn.Sequential(*layers, *_averaging_head(channels))


def _m3(height: int, width: int, channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for features in n.M3_FEATURES:
        layers += [nn.Conv2d(channels, features, 3, bias=False), nn.BatchNorm2d(features, **_NORM), nn.ReLU()]
        channels = features
    shrinkage = 2 * len(n.M3_FEATURES)
    size = (height - shrinkage) * (width - shrinkage) * channels
    layers += [nn.Flatten(), nn.Linear(size, n.NUM_CLASSES, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm1d(n.NUM_CLASSES, **_NORM))


def _separable(height: int, width: int, channels: int) -> nn.Module:
    layers = _stem(channels, n.SEPARABLE_STEM_FEATURES)
    channels = n.SEPARABLE_STEM_FEATURES
    for features, stride in n.SEPARABLE_BLOCKS:
        layers += [
            nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels, **_NORM),
            nn.ReLU(),
            nn.Conv2d(channels, features, 1, bias=False),
            nn.BatchNorm2d(features, **_NORM),
            nn.ReLU(),
        ]
        channels = features
    return nn.Sequential(*layers, *_averaging_head(channels))


def _stem(channels: int, features: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, features, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(features, **_NORM), nn.ReLU()]


def _averaging_head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n.NUM_CLASSES)]
