"""Images of a batch mixed in pairs, and their labels with them.

Sources: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; Yun et al., CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features, 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from mnist_jax.training.augment.boxes import inside_boxes, random_centers
from mnist_jax.training.augment.images import Images


class MixDraws(NamedTuple):
    """How each image of a batch is mixed with the one before it."""

    shares: Array  # float32 ``[batch]``, of the image itself
    centers: Array  # int32 ``[batch, 2]``, of the box that CutMix takes from the other
    is_pasted: Array  # bool ``[batch]``, CutMix rather than Mixup


def draw_mixing(
    key: Key[Array, ""], shape: tuple[int, ...], *, mixup_alpha: float, cutmix_alpha: float
) -> MixDraws:
    """Draws for images of ``shape`` ``[batch, height, width, channels]``.

    A share is of the distribution Beta(alpha, alpha). With both alphas above 0 an image is mixed in either
    way, with even odds.
    """
    mixup_key, cutmix_key, center_key, choice_key = jax.random.split(key, 4)
    centers = random_centers(center_key, shape)
    if not mixup_alpha:
        is_pasted = jnp.ones(shape[0], bool)
    elif not cutmix_alpha:
        is_pasted = jnp.zeros(shape[0], bool)
    else:
        is_pasted = jax.random.bernoulli(choice_key, shape=(shape[0],))
    blended, pasted = (
        jax.random.beta(one, alpha, alpha, (shape[0],)) if alpha else jnp.ones(shape[0])
        for one, alpha in ((mixup_key, mixup_alpha), (cutmix_key, cutmix_alpha))
    )
    return MixDraws(jnp.where(is_pasted, pasted, blended), centers, is_pasted)


@jax.named_scope("augment_batch")
def mix(
    draws: MixDraws, images: Images, labels: Shaped[Array, "batch ..."], num_classes: int
) -> tuple[Images, Float[Array, "batch classes"]]:
    """Mixes each image and its label with those before it in the batch, the first with the last.

    Mixup blends all pixels. CutMix puts a box of the other image in its place, of about ``1 - share`` of the
    area; of the label counts the area that is left.

    Args:
        draws: as drawn for this batch.
        images: floating point.
        labels: int32 ``[batch]``, or float32 ``[batch, classes]``.
        num_classes: width of the labels returned.
    """
    others = jnp.roll(images, 1, axis=0)
    side = jnp.sqrt(1.0 - draws.shares)
    heights, widths = ((side * size).astype(jnp.int32) for size in images.shape[1:3])
    box = inside_boxes(draws.centers, heights, widths, images.shape)
    kept = 1.0 - box
    shares = jnp.where(draws.is_pasted, jnp.mean(kept, axis=(1, 2, 3)), draws.shares)[:, None]
    weights = jnp.where(draws.is_pasted[:, None, None, None], kept, shares[:, :, None, None])
    targets = labels if labels.ndim == 2 else jax.nn.one_hot(labels, num_classes)
    mixed = weights * images + (1.0 - weights) * others
    return mixed.astype(images.dtype), shares * targets + (1.0 - shares) * jnp.roll(targets, 1, axis=0)
