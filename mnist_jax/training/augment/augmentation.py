"""All random changes to a batch, one after another."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from mnist_jax.training.augment.affine import RandomAffine
from mnist_jax.training.augment.boxes import cut_out, random_centers
from mnist_jax.training.augment.disturbances.bag import (
    DisturbanceDraws,
    disturb,
    disturbing_fields,
    draw_disturbances,
)
from mnist_jax.training.augment.elastic import random_fields
from mnist_jax.training.augment.images import Images
from mnist_jax.training.augment.mixing import MixDraws, draw_mixing, mix
from mnist_jax.training.augment.thickness import change_thickness
from mnist_jax.training.augment.tones import add_noise, change_contrast

# Folded into the key of the warp, whose parts count from 0.
_OTHER_CHANGES, _DISTURBANCES = 1000, 1001


class AugmentDraws(NamedTuple):
    """What is drawn for a batch; None for what is off.

    Of what differs from pixel to pixel it is the key: an epoch's fields and noise, drawn ahead, would fill
    the memory of a device.
    """

    affine: Any  # what `RandomAffine` takes
    field_key: Array | None
    thickness: Array | None  # float32 ``[batch]``, pixels
    contrast: Array | None  # float32 ``[batch]``, factors
    noise_key: Array | None
    noise_stddev: Array | None  # float32 ``[batch]``
    cutout: Array | None  # int32 ``[batch, 2]``, centers
    disturbances: DisturbanceDraws | None
    mixing: MixDraws | None


@dataclass(frozen=True)
class Augmentation:
    """Changes each image by amounts of its own: ``(key, images) -> images``, as `RandomAffine` does.

    In this order: thickness of strokes; warp, elastic distortion and the moves among the disturbances, whose
    displacements are added, so that pixels are blended once; the other disturbances; contrast; noise; Cutout.
    `mix` follows, for it changes labels too.

    Attributes:
        affine: the warp; its fill value also fills what Cutout erases.
        num_classes: width of mixed labels.
        cutout_fraction: side of the square erased, as a share of the image's shorter side.
        elastic_alpha: see `random_fields`; 0 = off.
        elastic_sigma: see `random_fields`.
        thickness_pixels: strokes become thicker or thinner by up to this.
        contrast_fraction: contrast is multiplied by a factor in 1 ± this.
        noise_stddev: the noise's standard deviation is at most this.
        disturbed_share: of the images of a batch, see `disturbances.bag`.
        mixup_alpha: see `draw_mixing`; 0 = off.
        cutmix_alpha: see `draw_mixing`; 0 = off.
    """

    affine: RandomAffine
    num_classes: int = 0
    cutout_fraction: float = 0.0
    elastic_alpha: float = 0.0
    elastic_sigma: float = 4.0
    thickness_pixels: float = 0.0
    contrast_fraction: float = 0.0
    noise_stddev: float = 0.0
    disturbed_share: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @jax.named_scope("augment_batch")
    def draw(self, key: Key[Array, ""], shape: tuple[int, ...]) -> AugmentDraws:
        """Draws a batch's changes, for images of ``shape`` [B, H, W, C]."""
        keys = jax.random.split(jax.random.fold_in(key, _OTHER_CHANGES), 7)

        def uniform(index: int, center: float, spread: float, low: float | None = None) -> Array | None:
            start = center - spread if low is None else low
            return jax.random.uniform(keys[index], shape[:1], minval=start, maxval=center + spread)

        other_key = jax.random.fold_in(key, _DISTURBANCES)
        alphas = {"mixup_alpha": self.mixup_alpha, "cutmix_alpha": self.cutmix_alpha}
        return AugmentDraws(
            affine=self.affine.draw(key, shape),
            field_key=keys[0] if self.elastic_alpha else None,
            thickness=uniform(1, 0.0, self.thickness_pixels) if self.thickness_pixels else None,
            contrast=uniform(2, 1.0, self.contrast_fraction) if self.contrast_fraction else None,
            noise_key=keys[3] if self.noise_stddev else None,
            noise_stddev=uniform(4, 0.0, self.noise_stddev, low=0.0) if self.noise_stddev else None,
            cutout=random_centers(keys[5], shape) if self.cutout_fraction else None,
            disturbances=draw_disturbances(other_key, shape[0]) if self.disturbed_share else None,
            mixing=draw_mixing(keys[6], shape, **alphas) if any(alphas.values()) else None,
        )

    def __call__(
        self,
        key: Key[Array, ""] | AugmentDraws,
        images: Images | Float[np.ndarray, "batch height width channels"],
    ) -> Images:
        """Changes images, in their shape and dtype, as a key says or as was drawn from one."""
        images = jnp.asarray(images)
        draws = key if isinstance(key, AugmentDraws) else self.draw(key, images.shape)
        field = None
        if draws.thickness is not None:
            images = change_thickness(images, draws.thickness, self.thickness_pixels)
        if draws.field_key is not None:
            settings = {"alpha": self.elastic_alpha, "sigma": self.elastic_sigma}
            field = random_fields(draws.field_key, images.shape, **settings)
        images = self._warp(draws, images, field)
        if draws.contrast is not None:
            images = change_contrast(images, draws.contrast)
        if draws.noise_key is not None and draws.noise_stddev is not None:
            images = add_noise(draws.noise_key, images, draws.noise_stddev)
        if draws.cutout is not None:
            size = max(1, math.floor(self.cutout_fraction * min(images.shape[1:3]) + 0.5))
            images = cut_out(images, draws.cutout, size, self.affine.fill_value)
        return images

    def _warp(self, draws: AugmentDraws, images: Images, field: Array | None) -> Images:
        """Warps, with the disturbances of some of the images."""
        if draws.disturbances is None:
            return self.affine(draws.affine, images, field)
        first = draws.disturbances.first
        images = jnp.roll(images, -first, axis=0)
        # What the other changes draw for an image need not follow it.
        moved = disturbing_fields(draws.disturbances, images, self.disturbed_share)
        warped = self.affine(draws.affine, images, moved if field is None else moved + field)
        return jnp.roll(disturb(draws.disturbances, warped, self.disturbed_share), first, axis=0)

    def mix(
        self, draws: AugmentDraws, images: Images, labels: Shaped[Array, "batch ..."]
    ) -> tuple[Images, Shaped[Array, "batch ..."]]:
        """Mixes a batch that is changed already; see `mixing.mix`. Where that is off, nothing changes."""
        if draws.mixing is None:
            return images, labels
        return mix(draws.mixing, images, labels, self.num_classes)
