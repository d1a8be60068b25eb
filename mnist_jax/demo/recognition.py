"""The network of a run, ready to answer pictures one by one or many at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from mnist_jax.data.pictures.doubt import find_doubt, is_of_digits
from mnist_jax.data.pictures.pages.answer import Digit, answer_pages
from mnist_jax.data.pictures.pages.find import Page
from mnist_jax.data.pictures.steps import Step
from mnist_jax.data.pictures.worker import PictureWorkers
from mnist_jax.errors import DataError
from mnist_jax.models.registry import summarize_layers
from mnist_jax.run.load import LoadedModel
from mnist_jax.training.step import preprocess

# Two programs are enough. A crowd's batches are seldom fuller than four, for pictures come no faster than
# they are prepared, and a batch is always computed whole.
BATCH_SIZES = (1, 4)

# A picture of the largest size needs about 1 GB while it is decoded.
NUM_DECODERS = 2


@dataclass(frozen=True)
class Recognition:
    """What the network says of one picture."""

    image: UInt8[np.ndarray, "height width channels"]  # what it was given
    probabilities: Float[np.ndarray, " classes"]  # of each class, float32
    # Of the first layer after its ReLU, 255 where it is most active; None for a network without such a layer.
    activations: UInt8[np.ndarray, "map_height map_width maps"] | None
    doubt: str  # why the answer is not to be trusted, or nothing


class Recognizer:
    """Turns what the network takes into recognitions.

    Attributes:
        model: the network it uses.
        layer: name of the layer whose activations it gives, empty where there is none.
        num_maps: how many maps that layer has.
        workers: the processes that decode pictures, to be started and closed by whoever uses them.
    """

    def __init__(self, model: LoadedModel):
        """Compiles nothing yet, see `warm_up`."""
        self.model = model
        # The layer whose activations are given, "" for none, and how many maps it has.
        self.layer, self.num_maps = first_layer(model.module, model.image_shape)
        # One device: a handful of pictures is not worth spreading.
        self._variables = jax.device_put(jax.device_get(model.variables), jax.local_devices()[0])
        self._forward = jax.jit(self._compute)
        self.workers = PictureWorkers(NUM_DECODERS)

    def warm_up(self) -> None:
        """Compiles for every batch size, so that nobody waits for it later."""
        for size in BATCH_SIZES:
            self.recognize([np.zeros(self.model.image_shape, np.uint8)] * size)

    def read(self, content: bytes) -> UInt8[np.ndarray, "height width channels"]:
        """Brings the bytes of a picture file to the form of the data that the network was trained on.

        Raises:
            DataError: it is no picture, damaged, too large, blank, or takes too much to decode.
        """
        try:
            return self.workers.prepare(content, self.model.preparation)
        except DataError as error:
            raise DataError(f"the picture: {error}") from error

    def read_steps(self, content: bytes) -> list[Step]:
        """Returns what each step makes of the bytes of a picture file, up to what the network is given.

        Raises:
            DataError: as for `read`, where there is not even a first step.
        """
        steps: list[Step] = []
        try:
            self.workers.prepare(content, self.model.preparation, steps)
        except DataError as error:
            if not steps:
                raise DataError(f"the picture: {error}") from error
        return steps

    @property
    def reads_pages(self) -> bool:
        """Whether it reads several digits in a picture, too."""
        return is_of_digits(self.model.class_names, self.model.preparation)

    def read_page(self, content: bytes) -> Page:
        """Finds the digits in the bytes of a picture file.

        Raises:
            DataError: as for `read`.
        """
        try:
            return self.workers.find_digits(content)
        except DataError as error:
            raise DataError(f"the picture: {error}") from error

    def recognize_page(self, page: Page) -> list[Digit]:
        """Answers the digits that were found, in reading order."""
        (digits,) = answer_pages([page.groups], self._predict)
        return digits

    def _predict(
        self, images: UInt8[np.ndarray, "batch height width channels"]
    ) -> Float[np.ndarray, "batch classes"]:
        most = BATCH_SIZES[-1]
        answers = []
        for start in range(0, len(images), most):
            part = images[start : start + most]
            padded = np.zeros((most, *self.model.image_shape), np.uint8)
            padded[: len(part)] = part
            answers.append(jax.device_get(self._forward(self._variables, padded)[0])[: len(part)])
        return np.concatenate(answers)

    def recognize(self, images: Sequence[UInt8[np.ndarray, "height width channels"]]) -> list[Recognition]:
        """Answers up to ``BATCH_SIZES[-1]`` images at once, each as if it were alone."""
        size = next(size for size in BATCH_SIZES if size >= len(images))
        padded = np.zeros((size, *self.model.image_shape), np.uint8)
        padded[: len(images)] = images
        probabilities, activations = jax.device_get(self._forward(self._variables, padded))
        names, preparation = self.model.class_names, self.model.preparation
        return [
            Recognition(
                image,
                probabilities[i],
                None if activations is None else activations[i],
                find_doubt(image, probabilities[i], names, preparation),
            )
            for i, image in enumerate(images)
        ]

    def _compute(
        self, variables: dict[str, PyTree], images: UInt8[Array, "batch height width channels"]
    ) -> tuple[Array, Array | None]:
        logits, captured = self.model.module.apply(
            variables,
            preprocess(images),
            train=False,
            capture_intermediates=lambda module, _: bool(self.layer) and module.name == self.layer,
            mutable=["intermediates"],
        )
        probabilities = jax.nn.softmax(logits)
        if not self.layer:
            return probabilities, None
        # Of an ensemble the first member's.
        maps = jax.nn.relu(jax.tree.leaves(captured["intermediates"])[0].astype(jnp.float32))
        strongest = jnp.maximum(jnp.max(maps, axis=(1, 2, 3), keepdims=True), 1e-6)
        return probabilities, jnp.round(maps / strongest * 255).astype(jnp.uint8)


def first_layer(module: nn.Module, image_shape: Sequence[int]) -> tuple[str, int]:
    """Returns the first layer over maps: the first block, or the first convolution.

    Returns:
        its name and how many maps it gives; an empty name and 0 where no layer gives maps.
    """
    for name, _, shape, num_parameters in summarize_layers(module, image_shape, nested=True):
        if len(shape) == 4 and num_parameters:
            return name, int(shape[-1] or 0)
    return "", 0
