"""The optimizers by name: what each is, and which fields of ``optim`` it takes beside those of all."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerFields:
    """A row of the table.

    Attributes:
        description: one line, with the source.
        fields: names in the group ``optim`` that only some optimizers take.
    """

    description: str
    fields: tuple[str, ...]


_ADAM = ("b1", "b2", "epsilon", "weight_decay")

OPTIMIZERS: Mapping[str, OptimizerFields] = {
    "adam": OptimizerFields("Adam as Keras computes it (Kingma and Ba 2015)", _ADAM),
    "adamw": OptimizerFields("optax.adamw (Loshchilov and Hutter 2019)", _ADAM),
    "sgd": OptimizerFields(
        "gradient descent with momentum (Sutskever et al. 2013)", ("momentum", "nesterov", "weight_decay")
    ),
    "lamb": OptimizerFields("Adam scaled layer by layer (You et al. 2020)", _ADAM),
    "lion": OptimizerFields("the sign of a momentum (Chen et al. 2023)", ("b1", "momentum", "weight_decay")),
    "muon": OptimizerFields(
        "orthogonal updates of kernels, else Adam (Jordan 2024)",
        ("momentum", "nesterov", "muon_dense", *_ADAM),
    ),
    "schedule_free_adamw": OptimizerFields("AdamW that averages its weights (Defazio et al. 2024)", _ADAM),
    "prodigy": OptimizerFields("Adam that finds its own rate (Mishchenko, Defazio 2024)", _ADAM),
}

# Those that some optimizer takes and another does not.
OWN_FIELDS = tuple(dict.fromkeys(name for row in OPTIMIZERS.values() for name in row.fields))
