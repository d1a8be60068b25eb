"""A trained network as one function from pixels to probabilities, for every export format."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from mnist_jax.errors import RunError
from mnist_jax.models.registry import MODELS
from mnist_jax.models.soft_vote import SoftVote
from mnist_jax.run.load import LoadedModel
from mnist_jax.runtime.environment import collect_versions, git_commit, package_version
from mnist_jax.storage.json_files import plain_json, read_summary
from mnist_jax.storage.metrics_log import read_metrics
from mnist_jax.training.step import preprocess

# What an export may differ from the model, in any probability of any image.
MAX_DIFFERENCE = 1e-4

PredictFn = Callable[[np.ndarray], np.ndarray]


def make_predict_function(model: LoadedModel) -> Callable[[Array], Array]:
    """Returns ``uint8 [N, H, W, C] -> float32 [N, classes]``, traceable, with its variables inside.

    It computes in float32 and with XLA's own convolutions, whatever the run was trained with: what is right
    on the training device is not on every other.
    """
    module = _with_fields(model.module, conv="lax", dtype="float32")
    # Once over the host: how today's devices share them must not become part of what is exported.
    variables = jax.tree.map(jnp.asarray, jax.device_get(model.variables))

    def predict(images: Array) -> Array:
        logits: Any = module.apply(variables, preprocess(images), train=False)
        return jax.nn.softmax(logits.astype(jnp.float32))

    return predict


def describe_model(model: LoadedModel, workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the metadata of an exported file: plain JSON values, no path of this machine."""
    dataset = model.run["dataset"]
    description = {
        "producer": f"mnist_jax {package_version()}",
        "model": model.config.model.name,
        "input": {
            "dtype": "uint8",
            "shape": [None, *model.image_shape],
            "meaning": "images, height, width, channels; pixels from 0 to 255, as in the data set",
        },
        "output": {
            "dtype": "float32",
            "shape": [None, len(model.class_names)],
            "meaning": "probability of each class, in the order of labels",
        },
        "labels": list(model.class_names),
        "preparation": model.preparation.as_dict(),
        "dataset": {key: dataset.get(key) for key in ("name", "sha256", "test_sha256", "is_fallback")},
        "step": model.step,
        **_test_figures(workdir, model.step),
        "seed": model.config.seed,
        "versions": collect_versions(),
        "git_commit": git_commit(),
    }
    return plain_json(description)


def check_predictions(predict: PredictFn, model: LoadedModel, images: UInt8[np.ndarray, "n h w c"]) -> float:
    """Compares an export, read back, with the model it was made of, on many images at once and on few.

    For a model that computes in less than float32 the same network in float32 counts.

    Returns:
        the largest difference in any probability.

    Raises:
        RunError: where they differ by more than ``MAX_DIFFERENCE``, or in a label.
    """
    expected = dataclasses.replace(model, module=_with_fields(model.module, dtype="float32")).predict(images)
    worst = 0.0
    for count in (len(images), 1, 3):
        found = np.asarray(predict(images[:count]))
        if found.shape != expected[:count].shape:
            raise RunError(f"the export gives {list(found.shape)}; expected {list(expected[:count].shape)}")
        difference = float(np.abs(found - expected[:count]).max())
        # Written so that it also refuses what is not a number.
        if not difference <= MAX_DIFFERENCE:
            raise RunError(
                f"the export differs from the model by {difference:.1e} in a probability; expected at most "
                f"{MAX_DIFFERENCE:.0e}; nothing was written"
            )
        worst = max(worst, difference)
        top_two = np.sort(expected[:count], axis=-1)[:, -2:]
        is_tie = top_two[:, 1] - top_two[:, 0] <= 2 * MAX_DIFFERENCE
        other_labels = found.argmax(axis=-1) != expected[:count].argmax(axis=-1)
        if (other_labels & ~is_tie).any():
            raise RunError(f"the export gives other labels on {other_labels.sum()} of {count} images")
    return worst


def images_to_check_on(image_shape: tuple[int, ...]) -> UInt8[np.ndarray, "n h w c"]:
    """Returns 512 images that need no download: real digits where they fit the shape, the others random."""
    rng = np.random.default_rng(0)
    # Random patches of several sizes and contrasts reach more of a network than noise alone.
    images = rng.integers(0, 256, (512, *image_shape), dtype=np.uint8)
    for number, image in enumerate(images):
        side = 1 + number % 8
        image[...] = (
            image[::side, ::side].repeat(side, axis=0).repeat(side, axis=1)[: len(image), : image.shape[1]]
        )
    if image_shape == (28, 28, 1):
        from mnist_jax.data import load_splits

        images[:384] = load_splits("mnist_5k").test.images[:384]
    return images


def _with_fields(module: Any, **fields: Any) -> Any:
    """Changes those fields of a network of this package that it has, also in each network of an ensemble."""
    if isinstance(module, SoftVote):
        return module.clone(members=tuple(_with_fields(member, **fields) for member in module.members))
    if not any(isinstance(module, kind) for kind, _ in MODELS.values()):
        return module
    names = {field.name for field in dataclasses.fields(module)}
    return module.clone(**{name: value for name, value in fields.items() if name in names})


def _test_figures(workdir: str | os.PathLike[str], step: int) -> dict[str, Any]:
    """What the run measured on the test set at this step; ``None`` where it did not."""
    try:
        summary = read_summary(workdir)
    except RunError:
        summary = {}
    if summary.get("final_step") == step:
        accuracy, errors = summary.get("test_accuracy"), summary.get("test_errors")
        trained_with = {key: summary.get(key) for key in ("versions", "git_commit", "device")}
        return {"test_accuracy": accuracy, "test_errors": errors, "trained_with": trained_with}
    try:
        metrics = read_metrics(workdir)
    except RunError:
        metrics = []
    lines = [line for line in metrics if (line["step"], line.get("split")) == (step, "test")]
    line = lines[-1] if lines else {}
    return {"test_accuracy": line.get("accuracy"), "test_errors": line.get("errors")}
