"""How pictures are made ready for a network: chosen by the data, kept with the run, the same everywhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from mnist_jax.data.pictures.decode import MAX_SIDE, load_image
from mnist_jax.data.pictures.fit import fit_to_shape, luminance
from mnist_jax.data.pictures.mnist_form import MNIST_BOX, to_mnist
from mnist_jax.data.pictures.steps import GIVEN, Step, note

if TYPE_CHECKING:
    from mnist_jax.data.pictures.decode import Source

# EMNIST's characters fill 24x24 of 28x28, MNIST's 20x20 (Cohen et al. 2017, arXiv:1702.05373).
_EMNIST_BOX = 24

# A picture is read no larger than this many times the size it is brought to.
_SPARE_SIZE = 4

# Twice what a character is looked for in (`paper.LONGEST_SIDE`).
_LARGEST_SHEET = 512


@dataclass(frozen=True)
class Preparation:
    """What is done to every picture before the network sees it, in training and ever after."""

    # ``"mnist"``: a character is found in the picture and brought to MNIST's form, light on black;
    # ``"resized"``: the picture as it is, resized where it has another size, aspect kept.
    form: str
    image_shape: tuple[int, int, int]  # ``(height, width, channels)`` of the result
    # For ``"mnist"``, the side of the box that the character fills, where the smaller side is 28.
    box: int = MNIST_BOX
    white: float = 65535.0  # for ``"resized"``, what white is in pictures of more than 8 bits
    is_mask: bool = False  # for ``"resized"``, whether 1 is white in pictures and arrays of 8 bits
    background: float = 1.0  # for ``"resized"``, the luminance in [0, 1] that transparent pixels are laid on

    @classmethod
    def of_data_set(cls, name: str, image_shape: tuple[int, int, int]) -> "Preparation":
        """Returns the preparation for a data set that is known by name: MNIST's form for MNIST and EMNIST."""
        is_emnist = name.startswith("emnist/")
        if image_shape[2] == 1 and (is_emnist or name in ("mnist", "mnist_5k")):
            return cls("mnist", image_shape, box=_EMNIST_BOX if is_emnist else MNIST_BOX)
        return cls("resized", image_shape)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preparation":
        """Restores what `as_dict` returned and JSON kept."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        height, width, channels = values["image_shape"]
        return cls(**{**known, "image_shape": (height, width, channels)})

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> "Preparation":
        """Returns that of a run, from what its ``config.json`` has under ``run``."""
        dataset = run["dataset"]
        if "preparation" in dataset:
            return cls.from_dict(dataset["preparation"])
        height, width, channels = run["image_shape"]
        return cls.of_data_set(dataset["name"], (height, width, channels))

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {**asdict(self), "image_shape": list(self.image_shape)}

    def load(
        self, source: "Source", steps: list[Step] | None = None
    ) -> UInt8[np.ndarray, "height width channels"]:
        """Reads a picture (a path, or a binary file) and prepares it; as `decode.load_image` and `apply`.

        Args:
            source: the picture.
            steps: where to add what each step made of it, also where it ends in an error.

        Raises:
            DataError: as both.
        """
        if self.form == "mnist":
            max_side = max(_LARGEST_SHEET, _SPARE_SIZE * max(self.image_shape[:2]))
            max_side = min(MAX_SIDE, max_side)
            return self.apply(load_image(source, stretch=True, max_side=max_side, steps=steps), steps)
        max_side = min(MAX_SIDE, _SPARE_SIZE * max(self.image_shape[:2]))
        pixels = load_image(
            source,
            3,
            white=self.white,
            is_mask=self.is_mask,
            background=self.background,
            max_side=max_side,
            steps=steps,
        )
        return self.apply(pixels, steps)

    def apply(
        self, pixels: Float[np.ndarray, "height width *channels"], steps: list[Step] | None = None
    ) -> UInt8[np.ndarray, "out_height out_width out_channels"]:
        """Prepares a picture of any size.

        Args:
            pixels: in [0, 1], ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]``.
            steps: where to add what each step made of it, the last of them what is returned.

        Raises:
            DataError: a character is looked for and there is no ink to be seen.
        """
        if self.form != "mnist":
            prepared = fit_to_shape(pixels, self.image_shape)
        else:
            if pixels.ndim == 3:
                pixels = pixels[..., 0] if pixels.shape[-1] == 1 else luminance(pixels)
            prepared = to_mnist(pixels, self.image_shape[:2], self.box, steps)
        note(steps, GIVEN, prepared)
        return prepared

    def describe(self) -> str:
        """Says in one line what is done."""
        height, width, _ = self.image_shape
        if self.form == "mnist":
            return f"pictures are brought to MNIST's form: light on black, centered in {height}x{width}"
        return (
            f"pictures are taken as they are, not inverted; those of another size than {height}x{width} are "
            "resized, their aspect kept by padding"
        )
