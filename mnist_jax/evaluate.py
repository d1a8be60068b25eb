"""``python -m mnist_jax.evaluate``: the full test set from a checkpoint, on any platform."""

import sys

from mnist_jax import cli

COMMAND = cli.Command(
    "python -m mnist_jax.evaluate",
    "Evaluates a checkpoint of a run on every example of the test set, on the data the run was trained with.",
    (
        cli.WORKDIR,
        cli.CHECKPOINT,
        cli.Flag("batch_size", 0, "images a step; 0 = eval_batch_size of the run", at_least=0),
        cli.Flag("data_dir", "", "folder with the data; empty = as the run had it", metavar="DIR"),
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Evaluates one checkpoint and prints what came out."""
    from dataclasses import asdict

    from mnist_jax.data.writers import count_disputed_errors
    from mnist_jax.models.forward import forward_fn
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
    beside = {} if disputed is None else {"disputed_labels": disputed}
    by_class = {k: v for k, v in asdict(result).items() if k.startswith(("per_", "conf"))}
    arguments.print_json({**facts, **figures, **beside, **by_class})
    print(printable(f"step {model.step} on {splits.test.name} ({splits.test.source})"))
    print(
        f"test_accuracy {result.accuracy:.4f}  test_errors {result.errors} of {result.num_examples}  "
        f"test_loss {result.loss:.4f}"
    )
    if disputed is not None:
        print(f"of these {describe_disputed(disputed)}")
    return 0


cli.make_callable(__name__, "mnist_jax.api:evaluate")

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
