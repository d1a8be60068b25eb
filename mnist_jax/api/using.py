"""Asking a trained network: what it sees in images, and how often it is right."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mnist_jax.api.trained import TrainedRun
from mnist_jax.data.pictures.decode import to_fractions
from mnist_jax.data.pictures.read import read_pictures
from mnist_jax.errors import DataError
from mnist_jax.models.forward import forward_fn
from mnist_jax.run.datasets import load_recorded
from mnist_jax.run.load import LoadedModel, load
from mnist_jax.runtime.devices import device_faults
from mnist_jax.training.evaluation import EvaluationResult, Evaluator

Trained = TrainedRun | LoadedModel | str | os.PathLike[str]


def predict(run: Trained, images: Any) -> Float[np.ndarray, "... classes"]:
    """Returns the probability of each class.

    Args:
        run: what `train` or `load` returned, or the folder of a run.
        images: uint8 ``[N, H, W]`` or ``[N, H, W, C]`` or floating point in [0, 1], or one such image; images
            of another size than the network's are prepared as the run prepared its own. Or picture files:
            one or several paths.

    Returns:
        float32 ``[N, classes]``, in the order of ``run.model.class_names``; ``[classes]`` for one image.

    Raises:
        DataError: a picture cannot be read, or an array is no image.
    """
    model = _model(run)
    paths = _paths(images)
    if paths is not None:
        prepared = []
        for picture in read_pictures(paths, model.preparation):
            if picture.image is None:
                raise DataError(f"{picture.file}: {picture.error}")
            prepared.append(picture.image)
        answers = model.predict(np.stack(prepared))
        return answers[0] if isinstance(images, str | os.PathLike) else answers
    return model.predict(_prepare(images, model))


def evaluate(
    run: Trained, images: Any = None, labels: Any = None, *, batch_size: int | None = None
) -> EvaluationResult:
    """Measures a network on images and their labels, or on the test set of its run.

    Args:
        run: as in `predict`.
        images: as in `predict`, ``[N, ...]``; None for the test set of the run.
        labels: ``[N]``, whole numbers or names of classes.
        batch_size: images at a time; None for ``eval_batch_size`` of the run.

    Returns:
        ``accuracy`` (a fraction), ``errors``, ``num_examples``, ``loss`` (nats), ``per_class_accuracy`` and
        ``confusion_matrix`` (rows are true classes).

    Raises:
        DataError: the arrays do not fit, or the test set of the run cannot be had.
        RunError: the device's memory ran out.
    """
    model = _model(run)
    if images is None:
        test = load_recorded(model.config, model.run).test
        images, labels = test.images, test.labels
    else:
        images = _prepare(images, model)
        labels = _number(labels, model.class_names)
        if images.ndim != 4 or len(images) != len(labels):
            raise DataError(f"got {len(images)} images and {len(labels)} labels; expected a label an image")
        if not len(images):
            raise DataError("images: there is none; expected at least one")
    evaluator = Evaluator(
        forward_fn(model.module),
        batch_size=batch_size or model.config.eval_batch_size,
        num_classes=len(model.class_names),
        batch_sharding=model.layout.batch,
    )
    with device_faults("a smaller batch_size"):
        return evaluator(model.variables, *model.layout.replicate((images, labels)))


def _model(run: Trained) -> LoadedModel:
    if isinstance(run, LoadedModel):
        return run
    return run.model if isinstance(run, TrainedRun) else load(run)


def _paths(images: Any) -> list[str] | None:
    """The files that are named, or None for arrays."""
    if isinstance(images, str | os.PathLike):
        return [os.fspath(images)]
    if isinstance(images, list | tuple) and images and all(isinstance(i, str | os.PathLike) for i in images):
        return [os.fspath(image) for image in images]
    return None


def _prepare(images: Any, model: LoadedModel) -> np.ndarray:
    """Images of the network's own shape as they are, any others as the run prepared its own."""
    array = np.asarray(images)
    height, width, channels = model.image_shape
    if array.dtype.kind not in "buif" or not 2 <= array.ndim <= 4:
        raise DataError(f"images: {array.dtype} {list(array.shape)}; expected uint8 [N, H, W, {channels}]")
    has_channels = array.ndim == 4 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if array.shape[-2:] == (height, width) and channels == 1:
        has_channels = False
    full = array if has_channels else array[..., np.newaxis]
    if full.shape[-3:] == model.image_shape and (array.dtype == np.uint8 or array.dtype.kind == "f"):
        return full
    if full.shape[-1] not in (1, 3):
        raise DataError(f"images: {full.shape[-1]} channels; expected 1 (gray) or 3 (RGB)")
    if not full.size:
        raise DataError("images: there is none; expected at least one")
    fractions = to_fractions(full)
    if full.ndim == 3:
        return model.preparation.apply(fractions)
    return np.stack([model.preparation.apply(image) for image in fractions])


def _number(labels: Any, class_names: Sequence[str]) -> np.ndarray:
    array = np.asarray(labels)
    if array.dtype.kind in "UO":
        numbers = {name: number for number, name in enumerate(class_names)}
        unknown = sorted({str(label) for label in array.flat} - set(numbers))
        if unknown:
            raise DataError(f"labels: {unknown[0]!r} is no class; expected {', '.join(class_names)}")
        array = np.array([numbers[str(label)] for label in array.flat])
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"labels: {array.dtype} {list(array.shape)}; expected whole numbers [N]")
    if array.size and not 0 <= array.min() <= array.max() < len(class_names):
        expected = f"expected 0 to {len(class_names) - 1}"
        raise DataError(f"labels: numbers from {array.min()} to {array.max()}; {expected}")
    return array.astype(np.int32)
