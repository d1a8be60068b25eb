"""``python -m benchmarks.fine_tuning``: what a network that knows MNIST gains on 100 other pictures."""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.result_files import KEEP, make_result, write_result
from mnist_jax import cli
from mnist_jax.config.seeds import SEEDS_MEANS, SEEDS_PATTERN, parse_seeds

NUM_TRAIN = 100
KINDS = ("light_on_dark", "dark_on_light")
# Of all runs, beside those of configs/fast.py: its network, with Adam.
_SETTINGS = {
    "data.train_examples": 0,
    "optim.name": "adam",
    "optim.learning_rate": 1e-2,
    "optim.momentum": -1.0,
    "optim.muon_dense": True,
    "checkpoint.every_epochs": 10**6,
}
# Of the runs on the 100 pictures; each is one line of the table.
ARMS: dict[str, dict[str, Any]] = {
    "from scratch": {"start": False},
    "fine-tuned": {"start": True},
    "fine-tuned, convolutions frozen": {"start": True, "init.freeze": "conv*"},
    "fine-tuned, convolutions at a tenth of the rate": {"start": True, "optim.rate_scales": "conv*=0.1"},
}

COMMAND = cli.Command(
    "python -m benchmarks.fine_tuning",
    "Trains the network of configs/fast.py for four epochs on the 4,000 embedded digits, with Adam. The\n"
    "1,000 embedded test digits are then made into pictures of another hand: bold, turned, small and off\n"
    "the center, light on dark or dark on light. 100 are trained on, from that network and from scratch;\n"
    "900 are the test set.",
    (
        cli.Flag("seeds", "0:3", "seeds", pattern=SEEDS_PATTERN, pattern_means=SEEDS_MEANS, metavar="0:3"),
        cli.Flag("kind", KINDS[0], "light digits on dark, as MNIST's, or dark on light", choices=KINDS),
        KEEP,
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Trains the network that is started from, then each arm with each seed, and prints a table."""
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.runtime.environment import collect_versions, describe_device

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    seeds = parse_seeds(arguments["seeds"])
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments["kind"], seeds)
    device = str(describe_device()["device"])
    settings = {"seeds": arguments["seeds"], "kind": arguments["kind"], "num_train": NUM_TRAIN}
    result = make_result("fine_tuning", device, settings, figures, collect_versions())
    print(table(result))
    write_result(result, "", arguments["keep"])
    return 0


def measure(folder: Path, kind: str, seeds: list[int]) -> dict[str, Any]:
    """Trains everything in a folder.

    Returns:
        ``source``, the accuracy of the first network on the embedded test digits; ``before``, its accuracy on
        the pictures; and ``arms``, for each an accuracy a seed.
    """
    from mnist_jax.run.load import load

    source, data = folder / "digits", folder / "own"
    summary = _train(source, {"data.name": "mnist_5k", "num_epochs": 4})
    images, labels = write_pictures(data, dark_on_light=kind == "dark_on_light")
    before = float((load(source).predict(images).argmax(axis=1) == labels).mean())
    print(f"before: {before:.2%}", file=sys.stderr)
    own = {"data.dir": str(data), "num_epochs": 0, "batch_size": 0, "augment.enabled": True}
    arms: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for arm, settings in ARMS.items():
        for seed in seeds:
            start = {"init.run": str(source)} if settings["start"] else {}
            changes = {name: value for name, value in settings.items() if name != "start"}
            workdir = folder / "runs" / f"{arm}-{seed}"
            arms[arm].append(_train(workdir, {**own, **start, **changes, "seed": seed})["test_accuracy"])
            print(f"{arm}, seed {seed}: {arms[arm][-1]:.2%}", file=sys.stderr)
    return {"source": summary["test_accuracy"], "before": before, "arms": arms}


def _train(workdir: Path, changes: dict[str, Any]) -> dict[str, Any]:
    from mnist_jax.config.check import check, flatten
    from mnist_jax.config.file import load_config_file
    from mnist_jax.run.loop import train_and_evaluate

    config = check({**dict(flatten(load_config_file("fast"))), **_SETTINGS, **changes})
    return train_and_evaluate(config, str(workdir)).summary


def write_pictures(folder: Path, *, dark_on_light: bool) -> tuple[Any, Any]:
    """Writes the embedded test digits in another hand, as files in class folders below train and test.

    Returns:
        the pictures of test, uint8 ``[900, 28, 28, 1]``, and their labels.
    """
    import numpy as np
    from PIL import Image, ImageFilter

    from mnist_jax.data import load_splits

    test = load_splits("mnist_5k").test
    rng = np.random.default_rng(0)
    kept = []
    for number, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        picture = Image.fromarray(image[..., 0]).filter(ImageFilter.MaxFilter(3)).resize((22, 22))
        page = Image.new("L", (28, 28))
        page.paste(picture, (int(rng.integers(0, 7)), int(rng.integers(0, 7))))
        turned = page.rotate(float(rng.uniform(15, 35)), Image.Resampling.BILINEAR)
        tones = np.asarray(turned, np.float32) * 0.8 + rng.normal(20, 8, (28, 28))
        pixels = np.clip(255 - tones if dark_on_light else tones, 0, 255).astype(np.uint8)
        split = "train" if number < NUM_TRAIN else "test"
        path = folder / split / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        if split == "test":
            kept.append((pixels, label))
    images, labels = zip(*kept, strict=True)
    return np.stack(images)[..., None], np.array(labels)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: mean and SD over the seeds, in percent."""
    kind = result["settings"]["kind"].replace("_", " ")
    lines = [
        f"| {NUM_TRAIN} pictures to train on, {kind} | accuracy on 900 others |",
        "| --- | ---: |",
        f"| before, as it came from MNIST | {100 * result['before']:.1f}% |",
        *(f"| {arm} | {_mean_and_spread(values)} |" for arm, values in result["arms"].items()),
    ]
    source = f"{100 * result['source']:.1f}% of the embedded test digits as they are"
    of = f"Mean and SD of the seeds {result['settings']['seeds']}; {result['device']}"
    return "\n".join([*lines, "", f"The network that is started from knows {source}. {of}."])


def _mean_and_spread(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}%"


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
