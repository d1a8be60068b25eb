"""All layers of the network for one picture: what the page draws in space."""

import base64
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from mnist_jax.models.layer_outputs import (
    explain_layers,
    find_layers,
    layer_weights,
    receptive_fields,
)
from mnist_jax.models.registry import with_plain_convolutions
from mnist_jax.models.soft_vote import SoftVote
from mnist_jax.run.load import LoadedModel


class LayerViewer:
    """Tells of the layers of a network; compiles what it needs when it is first asked.

    The first layer it tells of is the image, the last the probabilities. Of an ensemble it is the first
    member's network.
    """

    def __init__(self, model: LoadedModel):
        """Computes nothing yet."""
        module, variables = model.module, jax.device_get(model.variables)
        if isinstance(module, SoftVote):
            module = module.members[0].clone()
            variables = {name: tree["members_0"] for name, tree in variables.items()}
        self._model = model
        self._module = with_plain_convolutions(module)
        self._variables = jax.device_put(variables, jax.local_devices()[0])
        layers = find_layers(self._module, model.image_shape)
        # The last layer of all stands as the probabilities that follow from it.
        ends_in_head = bool(layers) and layers[-1].shape == (len(model.class_names),)
        self._head = layers.pop() if ends_in_head else None
        self._layers = tuple(layers)

    @functools.cached_property
    def description(self) -> list[dict[str, Any]]:
        """Name, kind and shape of each layer, and what its units see of the image, as plain JSON values.

        ``rows`` and ``columns`` are those of `receptive_fields`. All is compiled by then.
        """
        height, width = self._model.image_shape[:2]
        rows_alone, columns_alone = ([[i, i + 1] for i in range(side)] for side in (height, width))
        self.view(np.zeros(self._model.image_shape, np.uint8))
        fields = receptive_fields(self._module, self._variables, self._model.image_shape, self._layers)
        image = {"name": "the picture", "kind": "image", "shape": list(self._model.image_shape)}
        answers = {"name": "the answer", "kind": "answers", "shape": [len(self._model.class_names)]}
        return [
            {**image, "rows": rows_alone, "columns": columns_alone},
            *(
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "shape": list(layer.shape),
                    "rows": rows.tolist(),
                    "columns": columns.tolist(),
                }
                for layer, (rows, columns) in zip(self._layers, fields, strict=True)
            ),
            {**answers, "rows": [[0, height]], "columns": [[0, width]]},
        ]

    def view(self, image: UInt8[np.ndarray, "height width channels"]) -> dict[str, Any]:
        """Returns the likeliest class and of each layer its activations and how much they speak for it.

        Returns:
            plain JSON values: ``label``, and ``layers``, each with ``values``, uint8 whose 255 stands for
            ``strongest``, and ``speaks``, int8 whose 127 stands for ``most`` (of the class's logit, as
            `explain_layers` says), both base64 of the layer's shape in C order.
        """
        tones = image.astype(np.float32) / 255
        logits, activations, speaks = jax.device_get(
            explain_layers(self._module, self._variables, tones, self._layers)
        )
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        label = int(logits.argmax())
        own = np.zeros_like(logits)
        own[label] = logits[label]
        return {
            "label": self._model.class_names[label],
            "layers": [
                *(_as_json(*both) for both in zip(activations, speaks, strict=True)),
                _as_json(probabilities, own),
            ],
        }

    def weights(self, layer: int, unit: int) -> dict[str, Any] | None:
        """Returns the weights of a map or unit, ``[height, width, inputs]``; None where there are none.

        Returns:
            plain JSON values: ``height``, ``width``, ``channels`` and ``base64``, int8 whose 127 stands for
            ``most``. Those of a dense layer are in the form of the layer before it.
        """
        layers = (*self._layers, self._head)
        chosen = layers[layer - 1] if 1 <= layer <= len(layers) else None
        found = layer_weights(self._variables, chosen, unit) if chosen else None
        if found is None:
            return None
        if found.ndim == 1:
            before = layers[layer - 2] if layer > 1 else None
            shape = before.shape if before else self._model.image_shape
            fits = len(shape) == 3 and np.prod(shape) == found.size
            found = found.reshape(shape if fits else (1, 1, -1))
        height, width, channels = found.shape
        data, most = _signed(found)
        return {"height": height, "width": width, "channels": channels, "base64": data, "most": most}


def _as_json(values: np.ndarray, speaks: np.ndarray) -> dict[str, Any]:
    strongest = float(values.max())
    data = np.round(values / max(strongest, 1e-6) * 255).astype(np.uint8)
    signed, most = _signed(speaks)
    return {"values": _base64(data), "strongest": strongest, "speaks": signed, "most": most}


def _signed(values: Float[np.ndarray, "..."]) -> tuple[str, float]:
    most = float(np.abs(values).max(initial=0.0))
    return _base64(np.round(values / max(most, 1e-6) * 127).astype(np.int8)), most


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
