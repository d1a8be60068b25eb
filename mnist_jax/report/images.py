"""The pictures of a report: mistakes, close calls, augmented samples, filters and activations."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.errors import RunError
from mnist_jax.metrics.predictions import first_of_each_class, least_confident_hits, most_confident_mistakes
from mnist_jax.report import style
from mnist_jax.report.activations import layer_outputs
from mnist_jax.report.inline import png_uri
from mnist_jax.report.record import Predictions
from mnist_jax.run.parts import build_augment_fn
from mnist_jax.terminal.format import format_percent
from mnist_jax.training.step import preprocess

_GRID_SIZE = 24
_AUGMENTED_ORIGINALS, _AUGMENTED_VARIANTS = 8, 5
_CHOSEN = 4
_LARGEST_SHEET = 64  # channels: with more, kernels become specks
_SHEET_WIDTH = 800  # pixels: nearly twice what a wide window gives a sheet


def grids(predictions: Predictions) -> dict[str, list[dict[str, str]]]:
    """The most confident mistakes and the least confident hits."""
    labels, probabilities = predictions.splits.test.labels, predictions.probabilities
    return {
        "mistakes": [
            _card(predictions, i) for i in most_confident_mistakes(probabilities, labels, _GRID_SIZE).tolist()
        ],
        "hits": [
            _card(predictions, i) for i in least_confident_hits(probabilities, labels, _GRID_SIZE).tolist()
        ],
    }


def _card(predictions: Predictions, index: int) -> dict[str, str]:
    names, probabilities = predictions.model.class_names, predictions.probabilities[index]
    best, second = np.argsort(-probabilities, kind="stable")[:2]
    return {
        "picture": png_uri(style.picture_rgba(predictions.splits.test.images[index])),
        "true": names[predictions.splits.test.labels[index]],
        "predicted": names[best],
        "confidence": _percent(probabilities[best]),
        "second": names[second],
        "second_confidence": _percent(probabilities[second]),
        "index": str(index),
    }


def augmented(predictions: Predictions) -> list[dict[str, Any]]:
    """Training images and what training saw in their place; empty without augmentation."""
    augment_fn = build_augment_fn(predictions.model.config.augment)
    if augment_fn is None:
        return []
    train = predictions.splits.train
    originals = train.images[first_of_each_class(train.labels, _AUGMENTED_ORIGINALS)]
    repeated = preprocess(jnp.asarray(np.repeat(originals, _AUGMENTED_VARIANTS, axis=0)))
    warped = np.asarray(jax.jit(augment_fn)(jax.random.key(predictions.model.config.seed), repeated))
    variants = warped.reshape(len(originals), _AUGMENTED_VARIANTS, *warped.shape[1:])
    return [
        {
            "original": png_uri(style.picture_rgba(original)),
            "variants": [png_uri(style.picture_rgba(variant)) for variant in row],
        }
        for original, row in zip(originals, variants, strict=True)
    ]


def filters(predictions: Predictions) -> list[dict[str, Any]]:
    """The kernels of each convolution, in the order of the network's names."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(predictions.model.variables["params"]):
        if leaf.ndim != 4:
            continue
        kernel = np.asarray(leaf, np.float32)
        height, width, inputs, outputs = kernel.shape
        limit = style.typical_limit(kernel)
        sheet = style.filter_sheet(kernel[:, :, :_LARGEST_SHEET, :_LARGEST_SHEET])
        first = (
            "" if max(inputs, outputs) <= _LARGEST_SHEET else f", the first {_LARGEST_SHEET} of each shown"
        )
        found.append(
            {
                "layer": "/".join(str(key.key) for key in path[:-1]),
                "text": f"{outputs} kernels of {height}×{width}×{inputs}{first}; full color at ±{limit:.2g}",
                "picture": png_uri(style.signed_rgba(sheet, limit), _SHEET_WIDTH),
            }
        )
    return found


def activations(predictions: Predictions, chosen: Sequence[int]) -> dict[str, Any]:
    """Returns the output of each block for some test images; for a network without blocks, of each layer.

    Args:
        predictions: network and data.
        chosen: indices into the test set; empty for the first of each of four classes.

    Raises:
        RunError: there is no test image of such an index.
    """
    test = predictions.splits.test
    indices = list(chosen) or first_of_each_class(test.labels, _CHOSEN).tolist()
    beyond = [str(index) for index in indices if index >= test.num_examples]
    if beyond:
        raise RunError(f"no test image {', '.join(beyond)}; expected numbers below {test.num_examples}")
    outputs = layer_outputs(predictions.model.module, predictions.model.variables, test.images[indices])
    # The blocks, which end in a ReLU; a network without them shows all its layers.
    blocks = {name: values for name, values in outputs.items() if name.startswith(("conv", "dense"))}
    return {
        "images": [_card(predictions, index) for index in indices],
        "layers": [
            _layer(name, np.maximum(values, 0))
            for name, values in (blocks or outputs).items()
            if values.ndim in (2, 4)
        ],
    }


def _layer(name: str, outputs: np.ndarray) -> dict[str, Any]:
    # One scale for all images, so that they can be compared.
    limit = style.typical_limit(outputs)
    sheets = [style.activation_sheet(output) for output in outputs]
    size = "×".join(map(str, outputs.shape[1:3]))
    maps = f"{outputs.shape[-1]} maps of {size}" if outputs.ndim == 4 else f"{outputs.shape[-1]} units"
    return {
        "name": name,
        "text": f"{maps}; full color at {limit:.2g}",
        "pictures": [png_uri(style.strength_rgba(sheet, limit), _SHEET_WIDTH) for sheet in sheets],
    }


def _percent(probability: float) -> str:
    # 99.97% must not read as certain.
    return format_percent(min(probability, 0.999), decimals=1 if probability > 0.995 else 0)
