"""``python -m mnist_jax.evaluate``: the full test set from a checkpoint, on any platform."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_jax import cli

if TYPE_CHECKING:
    from mnist_jax.data.dataset import Dataset
    from mnist_jax.run.load import LoadedModel
    from mnist_jax.training.evaluation import EvaluationResult, Evaluator

COMMAND = cli.Command(
    "python -m mnist_jax.evaluate",
    "Evaluates a checkpoint of a run on every example of the test set, on the data the run was trained with.",
    (
        cli.WORKDIR,
        cli.CHECKPOINT,
        cli.Flag("batch_size", 0, "images a step; 0 = eval_batch_size of the run", at_least=0),
        cli.Flag("data_dir", "", "folder with the data; empty = as the run had it", metavar="DIR"),
        cli.Flag("corruptions", False, "evaluate on the fifteen corruptions of MNIST-C too, made here"),
        cli.Flag("mnist_c", "", "with MNIST-C as published, a folder of its kinds", metavar="DIR"),
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Evaluates one checkpoint and prints what came out."""
    from dataclasses import asdict

    from mnist_jax.data.writers import count_disputed_errors
    from mnist_jax.models.forward import forward_fn
    from mnist_jax.ops.native.library import begin as begin_to_compile
    from mnist_jax.run.datasets import load_recorded
    from mnist_jax.run.load import load
    from mnist_jax.runtime import distributed
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.runtime.devices import device_faults
    from mnist_jax.terminal.format import describe_disputed, printable
    from mnist_jax.training.evaluation import Evaluator

    distributed.join()
    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    model = load(arguments["workdir"], arguments["checkpoint"])
    begin_to_compile(model.layout.platform)
    splits = load_recorded(model.config, model.run, arguments["data_dir"])
    evaluator = Evaluator(
        forward_fn(model.module),
        batch_size=arguments["batch_size"] or model.config.eval_batch_size,
        num_classes=len(model.class_names),
        batch_sharding=model.layout.batch,
    )
    with device_faults("a smaller --batch_size"):
        data = model.layout.replicate((splits.test.images, splits.test.labels))
        result = evaluator(model.variables, *data)
        corrupted = {}
        if arguments["corruptions"] or arguments["mnist_c"]:
            corrupted = _evaluate_corrupted(model, evaluator, splits.test, arguments["mnist_c"])
    distributed.agree_to_end()
    if not distributed.is_primary():
        return 0
    facts = {
        "workdir": arguments["workdir"],
        "step": model.step,
        "dataset": splits.test.name,
        "source": splits.test.source,
    }
    figures = {
        "test_accuracy": result.accuracy,
        "test_errors": result.errors,
        "test_loss": result.loss,
        "num_test": result.num_examples,
    }
    disputed = count_disputed_errors(splits.test.sha256, result.predicted)
    beside: dict[str, object] = {} if disputed is None else {"disputed_labels": disputed}
    if corrupted:
        beside["corruptions"] = _describe_corrupted(corrupted)
    by_class = {k: v for k, v in asdict(result).items() if k.startswith(("per_", "conf"))}
    arguments.print_json({**facts, **figures, **beside, **by_class})
    print(printable(f"step {model.step} on {splits.test.name} ({splits.test.source})"))
    print(
        f"test_accuracy {result.accuracy:.4f}  test_errors {result.errors} of {result.num_examples}  "
        f"test_loss {result.loss:.4f}"
    )
    if disputed is not None:
        print(f"of these {describe_disputed(disputed)}")
    if corrupted:
        _print_corrupted(corrupted)
    return 0


def _evaluate_corrupted(
    model: "LoadedModel", evaluator: "Evaluator", test: "Dataset", folder: str
) -> "dict[str, EvaluationResult]":
    """Evaluates each kind of corruption of the test set, or that of MNIST-C where it is at hand."""
    from mnist_jax.corruptions import CORRUPTIONS, corrupt
    from mnist_jax.data.mnist_c import read_mnist_c
    from mnist_jax.errors import DataError

    if model.image_shape != (28, 28, 1):
        shape = "x".join(map(str, model.image_shape))
        raise DataError(f"corruptions: this run has images of {shape}; expected 28x28x1, as MNIST-C's")
    if folder and len(model.class_names) != 10:
        raise DataError(f"MNIST-C: this run has {len(model.class_names)} classes; expected the ten digits")
    found = {}
    for kind in CORRUPTIONS:
        made = read_mnist_c(Path(folder), kind) if folder else (corrupt(kind, test.images), test.labels)
        found[kind] = evaluator(model.variables, *model.layout.replicate(made))
    return found


def _describe_corrupted(found: "dict[str, EvaluationResult]") -> dict[str, object]:
    worst = min(found, key=lambda kind: found[kind].accuracy)
    return {
        "mean_accuracy": _mean_accuracy(found),
        "worst": worst,
        "worst_accuracy": found[worst].accuracy,
        "kinds": {
            kind: {"accuracy": result.accuracy, "errors": result.errors, "num_examples": result.num_examples}
            for kind, result in found.items()
        },
    }


def _mean_accuracy(found: "dict[str, EvaluationResult]") -> float:
    return sum(result.accuracy for result in found.values()) / len(found)


def _print_corrupted(found: "dict[str, EvaluationResult]") -> None:
    from mnist_jax.terminal.format import format_percent

    print(f"\n{'corruption':<14} accuracy  errors")
    for kind, result in found.items():
        print(f"{kind:<14} {format_percent(result.accuracy):>8}  {result.errors:>6,}")
    print(f"{'mean':<14} {format_percent(_mean_accuracy(found)):>8}")


cli.make_callable(__name__, "mnist_jax.api:evaluate")

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
