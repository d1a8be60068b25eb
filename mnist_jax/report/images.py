"""The pictures of a report: mistakes, close calls, augmented samples, filters and activations."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mnist_jax.data.writers import disputed_labels
from mnist_jax.errors import RunError
from mnist_jax.metrics.predictions import (
    confusion_matrix,
    first_of_each_class,
    frequent_confusions,
    least_confident_hits,
    most_confident_mistakes,
)
from mnist_jax.models.registry import with_plain_convolutions
from mnist_jax.report import style
from mnist_jax.report.activations import layer_outputs
from mnist_jax.report.inline import png_uri
from mnist_jax.report.predictions import Predictions
from mnist_jax.report.saliency import NUM_COPIES, saliency
from mnist_jax.report.space import layers_in_space
from mnist_jax.run.parts import build_augment_fn
from mnist_jax.terminal.format import format_percent
from mnist_jax.training.step import preprocess

_GRID_SIZE = 24
_MOST_MISTAKES = 300  # folded; fewer of larger images, so that the page stays small
_PIXELS = 28 * 28
_PAIRS, _OF_PAIR = 8, 12
_AUGMENTED_ORIGINALS, _AUGMENTED_VARIANTS = 8, 5
_CHOSEN = 4
_SHOWN_KERNELS = 8  # of a layer with several input channels, each way: with more, kernels become specks
_FIRST_KERNELS = 64
_SHOWN_MAPS, _SHOWN_LAYERS = 16, 8


class Cards:
    """Test images as cards: the picture, its true class, and what the network says."""

    def __init__(self, predictions: Predictions):
        """Keeps what was drawn: an image may be shown more than once."""
        self._predictions, self._drawn = predictions, dict[int, dict[str, str]]()
        self._disputed = disputed_labels(predictions.splits.test.sha256)

    def __call__(self, index: int) -> dict[str, str]:
        """Returns the card of a test image."""
        if index not in self._drawn:
            self._drawn[index] = self._draw(index)
        return self._drawn[index]

    def _draw(self, index: int) -> dict[str, str]:
        predictions = self._predictions
        names, probabilities = predictions.class_names, predictions.probabilities[index]
        best, second = np.argsort(-probabilities, kind="stable")[:2]
        return {
            "picture": picture_uri(predictions.splits.test.images[index], predictions.is_ink),
            "true": names[predictions.splits.test.labels[index]],
            "predicted": names[best],
            "confidence": percent(probabilities[best]),
            "second": names[second],
            "second_confidence": percent(probabilities[second]),
            "index": str(index),
            "disputed": self._disputed.get(index, ""),
        }


def picture_uri(image: np.ndarray, is_ink: bool) -> str:
    """Encodes an image as it is to be shown, see `style.picture_rgba`."""
    return png_uri(style.picture_rgba(image, is_ink=is_ink))


def mistakes(predictions: Predictions, card: Cards) -> dict[str, Any]:
    """The most confident mistakes with what the network went by, and all others as far as there is room."""
    test, probabilities = predictions.splits.test, predictions.probabilities
    wrong = most_confident_mistakes(probabilities, test.labels, test.num_examples)
    shown, rest = wrong[:_GRID_SIZE], wrong[_GRID_SIZE:]
    room = max(_GRID_SIZE, _MOST_MISTAKES * _PIXELS // max(test.images[0].size, _PIXELS))
    title = f"The other {len(rest):,} mistakes"
    if len(rest) > room:
        title = f"The next {room:,} of {len(wrong):,} mistakes"
    return {
        "shown": [
            {**card(index), "saliency": map_uri}
            for index, map_uri in zip(shown.tolist(), _saliency(predictions, shown), strict=True)
        ],
        "rest": [card(index) for index in rest[:room].tolist()],
        "rest_title": title,
        "num_copies": NUM_COPIES,
        "has_saliency": bool(len(shown)),
    }


def _saliency(predictions: Predictions, indices: np.ndarray) -> list[str]:
    if not len(indices):
        return []
    test, model = predictions.splits.test, predictions.model
    # Always as many, so that the compiled program is found again next time.
    rows = np.resize(indices, _GRID_SIZE)
    predicted = predictions.probabilities[rows].argmax(axis=1)
    maps = saliency(model.module, model.variables, test.images[rows], predicted, test.labels[rows])
    maps = maps[: len(indices)]
    return [png_uri(style.signed_rgba(image, style.typical_limit(image))) for image in maps]


def hits(predictions: Predictions, card: Cards) -> list[dict[str, str]]:
    """The least confident hits."""
    labels = predictions.splits.test.labels
    return [card(i) for i in least_confident_hits(predictions.probabilities, labels, _GRID_SIZE).tolist()]


def pairs(predictions: Predictions, card: Cards) -> list[dict[str, Any]]:
    """The most frequent pairs of true and predicted class, each with its surest mistakes."""
    test, names = predictions.splits.test, predictions.class_names
    predicted = predictions.probabilities.argmax(axis=1)
    confusion = confusion_matrix(test.labels, predicted, len(names))
    wrong = most_confident_mistakes(predictions.probabilities, test.labels, test.num_examples)
    found = []
    for true, taken_for, count in frequent_confusions(confusion, _PAIRS):
        of_pair = wrong[(test.labels[wrong] == true) & (predicted[wrong] == taken_for)]
        found.append(
            {
                "true": names[true],
                "predicted": names[taken_for],
                "count": f"{count:,}",
                "total": f"{confusion[true].sum():,}",
                "cards": [card(index) for index in of_pair[:_OF_PAIR].tolist()],
            }
        )
    return found


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
            "original": picture_uri(original, predictions.is_ink),
            "variants": [picture_uri(variant, predictions.is_ink) for variant in row],
        }
        for original, row in zip(originals, variants, strict=True)
    ]


def filters(predictions: Predictions) -> list[dict[str, Any]]:
    """The kernels of each convolution, in the order of the network's names; of deeper ones the strongest."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(predictions.model.variables["params"]):
        if leaf.ndim != 4:
            continue
        kernel = np.asarray(leaf, np.float32)
        height, width, inputs, outputs = kernel.shape
        limit = _FIRST_KERNELS if inputs == 1 else _SHOWN_KERNELS
        shown = style.strongest_kernels(kernel, limit)
        full = style.typical_limit(shown)
        few = min(outputs, limit), min(inputs, limit)
        which = ""
        if outputs > limit or inputs > limit:
            which = f": the {few[0]} of the largest norm"
            which += f" (rows), each with its {few[1]} strongest inputs (columns)" if inputs > 1 else ""
        elif inputs > 1:
            which = ": a row each, a column for each input"
        found.append(
            {
                "layer": "/".join(str(key.key) for key in path[:-1]),
                "text": f"{outputs} kernels of {height}×{width}×{inputs}{which}; full color at ±{full:.2g}",
                "picture": png_uri(style.signed_rgba(style.filter_sheet(shown), full)),
            }
        )
    return found


def activations(predictions: Predictions, chosen: Sequence[int], card: Cards) -> dict[str, Any]:
    """Returns the output of each block for some test images; for a network without blocks, of each layer.

    Args:
        predictions: network and data.
        chosen: indices into the test set; empty for the first of each of four classes.
        card: draws the images.

    Raises:
        RunError: there is no test image of such an index.
    """
    test = predictions.splits.test
    indices = list(chosen) or first_of_each_class(test.labels, _CHOSEN).tolist()
    beyond = [str(index) for index in indices if index >= test.num_examples]
    if beyond:
        raise RunError(f"no test image {', '.join(beyond)}; expected numbers below {test.num_examples}")
    module = with_plain_convolutions(predictions.model.module)
    outputs = layer_outputs(module, predictions.model.variables, test.images[indices])
    # The blocks, which end in a ReLU; a network without them shows all its layers.
    blocks = {name: values for name, values in outputs.items() if name.startswith(("conv", "dense"))}
    drawable = [(name, values) for name, values in (blocks or outputs).items() if values.ndim in (2, 4)]
    places = np.unique(np.linspace(0, len(drawable) - 1, min(len(drawable), _SHOWN_LAYERS)).round())
    shown = [drawable[int(place)] for place in places]
    note = f"{len(shown)} of its {len(drawable)} layers are shown." if len(shown) < len(drawable) else ""
    return {
        "images": [card(index) for index in indices],
        "space": layers_in_space(
            test.images[indices[0]],
            [
                *((name, values[0]) for name, values in shown),
                ("the answer", predictions.probabilities[indices[0]]),
            ],
        ),
        "layers": [_layer(name, np.maximum(values, 0)) for name, values in shown],
        "note": note,
    }


def _layer(name: str, outputs: np.ndarray) -> dict[str, Any]:
    count, size = outputs.shape[-1], "×".join(map(str, outputs.shape[1:3]))
    text = f"{count} maps of {size}" if outputs.ndim == 4 else f"{count} units"
    if outputs.ndim == 4 and count > _SHOWN_MAPS:
        # The same maps for all images, in their order in the layer, so that they can be compared.
        strength = outputs.mean(axis=(0, 1, 2))
        outputs = outputs[..., np.sort(np.argsort(-strength, kind="stable")[:_SHOWN_MAPS])]
        text += f", the {_SHOWN_MAPS} strongest shown"
    # One scale for all images, for the same reason.
    limit = style.typical_limit(outputs)
    sheets = [style.activation_sheet(output) for output in outputs]
    return {
        "name": name,
        "text": f"{text}; full color at {limit:.2g}",
        "pictures": [png_uri(style.strength_rgba(sheet, limit)) for sheet in sheets],
    }


def percent(probability: float) -> str:
    """Returns a confidence in percent; 99.97% must not read as certain."""
    return format_percent(min(probability, 0.999), decimals=1 if probability > 0.995 else 0)
