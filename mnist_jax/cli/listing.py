"""``mnist-jax list``: what can be named in a configuration."""

import ast
from typing import Any

from mnist_jax.cli.parse import Arguments, Command
from mnist_jax.config.file import shipped_configs
from mnist_jax.config.optimizers import OPTIMIZERS
from mnist_jax.config.schema import FIELDS_BY_NAME
from mnist_jax.data.known import EMBEDDED_NAME, FAMILY
from mnist_jax.errors import ConfigError

COMMAND = Command(
    "mnist-jax list",
    "Lists the configurations that come with the package, the networks, the optimizers, or the data sets.",
    positional="configs|models|optimizers|data",
    positional_description="what to list",
)
_MODELS = {
    "cnn": "the article's network: 3x3 convolutions, BatchNorm, ReLU, pooling, a hidden layer",
    "simple_m3": "An et al. (2020) M3: ten 3x3 convolutions, no pooling",
    "simple_m5": "An et al. (2020) M5: five 5x5 convolutions, no pooling",
    "simple_m7": "An et al. (2020) M7: four 7x7 convolutions, no pooling",
}


def main(arguments: Arguments) -> int:
    """Prints the lists that were asked for."""
    kinds = {"configs": _configs, "models": _models, "optimizers": _optimizers, "data": _data_sets}
    wrong = [word for word in arguments.positional if word not in kinds]
    if wrong or len(arguments.positional) != 1:
        got = " ".join(arguments.positional) or "nothing"
        raise ConfigError([f"expected one of {', '.join(kinds)}, got {got}"])
    (kind,) = arguments.positional
    rows = kinds[kind]()
    arguments.print_json(rows)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['description']}")
        if "fields" in row:
            print(f"{'':<{width}}  takes {', '.join(row['fields'])}")
    if kind == "data":
        print("\nAlso any other image data set of TFDS by its name, and folders of your own: data.dir.")
    return 0


def _configs() -> list[dict[str, Any]]:
    rows = []
    for name, path in shipped_configs().items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append({"name": name, "description": text.partition("\n")[0], "file": str(path)})
    return rows


def _models() -> list[dict[str, Any]]:
    names = FIELDS_BY_NAME["model.name"].choices
    return [{"name": name, "description": _MODELS.get(str(name), "")} for name in names]


def _optimizers() -> list[dict[str, Any]]:
    return [
        {"name": name, "description": row.description, "fields": row.fields}
        for name, row in OPTIMIZERS.items()
    ]


def _data_sets() -> list[dict[str, Any]]:
    sizes = {name: (known.num_train, known.num_test) for name, known in FAMILY.items()}
    rows = []
    for name, (num_train, num_test) in {**sizes, EMBEDDED_NAME: (4000, 1000)}.items():
        num_classes = len(FAMILY["mnist" if name == EMBEDDED_NAME else name].class_names)
        origin = "; comes with the package" if name == EMBEDDED_NAME else ""
        counts = f"{num_train:,} training and {num_test:,} test images, {num_classes} classes"
        rows.append(
            {
                "name": name,
                "description": counts + origin,
                "num_train": num_train,
                "num_test": num_test,
                "num_classes": num_classes,
            }
        )
    return rows
