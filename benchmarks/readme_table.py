"""``python -m benchmarks.readme_table``: draws the README's tables from the results that are kept."""

import sys
from pathlib import Path
from typing import Any

from benchmarks import accuracy, wall
from benchmarks.networks import NETWORKS
from benchmarks.result_files import RESULTS_DIR, commit_of, describe_work, is_article_work, read_results
from mnist_jax import cli
from mnist_jax.errors import RunError
from mnist_jax.storage.json_files import replace_file

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
ACCURACY_BEGIN, ACCURACY_END = "<!-- accuracy:begin -->", "<!-- accuracy:end -->"

COMMAND = cli.Command(
    "python -m benchmarks.readme_table",
    "Replaces what stands between the markers of a README by tables of the results that are kept.",
    (
        cli.Flag("readme", "README.md", "file to change", non_empty=True, metavar="FILE"),
        cli.Flag("results", str(RESULTS_DIR), "folder of the results", non_empty=True, metavar="DIR"),
        cli.Flag("check", False, "change nothing; exit with 1 where the file is not up to date"),
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Writes the tables, or checks that they are there."""
    path = Path(arguments["readme"])
    try:
        before = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}; expected a README with markers") from error
    folder = Path(arguments["results"])
    results = read_results(folder)
    if not results:
        raise RunError(f"no result in {folder}; run a benchmark with --keep first")
    after = insert(before, draw(results), path)
    if (folder / accuracy.FOLDER).is_dir():
        table = accuracy.draw(folder / accuracy.FOLDER)
        after = insert(after, table, path, ACCURACY_BEGIN, ACCURACY_END)
    if arguments["check"] and after != before:
        raise RunError(f"{path} is not up to date; run python -m benchmarks.readme_table")
    if after != before:
        replace_file(path.absolute(), after.encode())
    return 0


def insert(text: str, tables: str, path: Path, begin_mark: str = BEGIN, end_mark: str = END) -> str:
    """Replaces what stands between two markers.

    Raises:
        RunError: the markers are not there once each, in order.
    """
    head, begin, rest = text.partition(begin_mark)
    _, end, tail = rest.partition(end_mark)
    if not begin or not end or begin_mark in rest or end_mark in tail:
        raise RunError(f"{path}: expected one line {begin_mark} and below it one line {end_mark}")
    return f"{head}{begin_mark}\n{tables}\n{end_mark}{tail}"


def draw(results: list[dict[str, Any]]) -> str:
    """Draws the newest result of each benchmark and device as Markdown.

    Args:
        results: oldest first.
    """
    newest: dict[tuple, dict[str, Any]] = {}
    for result in results:
        settings = result["settings"]
        work = "" if is_article_work(settings) else describe_work(settings)
        newest[result["benchmark"], result["device"], settings.get("config_file", ""), work] = result
    compared = [result for result in newest.values() if result["benchmark"] == "compare"]
    parts = [_compare_table(result) for result in compared if is_article_work(result["settings"])]
    others = [result for result in compared if not is_article_work(result["settings"])]
    if others:
        parts.append(_networks_table(sorted(others, key=_order)))
    speedruns = [result for result in newest.values() if result["benchmark"] == "time_to_accuracy"]
    if speedruns:
        parts.append(_accuracy_table(speedruns))
    parts += [wall.table(result) for result in newest.values() if result["benchmark"] == "wall"]
    return "\n\n".join(parts)


def _compare_table(result: dict[str, Any]) -> str:
    settings = result["settings"]
    rows = [
        "| one training step, no augmentation | images/s | ms a step | ours is times faster |",
        "| --- | ---: | ---: | ---: |",
    ]
    for contender in sorted(result["contenders"].values(), key=lambda c: c["median_seconds_per_step"]):
        ratio = contender.get("ours_is_times_faster")
        times = f"{ratio['median']:.2f}" if ratio else ""
        rows.append(
            f"| {contender['title']} | {contender['images_per_second']:,.0f} | "
            f"{1e3 * contender['median_seconds_per_step']:.2f} | {times} |"
        )
    rows.append(
        f"\n{result['device']}; batch {settings['batch_size']}, {settings['dtype']}; medians of "
        f"{settings['rounds']} interleaved rounds; {_versions(result)}; {_provenance(result)}"
    )
    return "\n".join(rows)


def _order(result: dict[str, Any]) -> tuple:
    settings = result["settings"]
    return (
        result["device"],
        list(NETWORKS).index(settings["network"]),
        settings["image_shape"],
        settings["batch_size"],
    )


def _networks_table(results: list[dict[str, Any]]) -> str:
    rows = [
        "| one training step, no augmentation | images/s | times PyTorch's best mode | times Keras' best "
        "| times stock Flax |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        times = result.get("ours_is_times_faster_than", {})
        shown = (
            f"{times[family]['median']:.2f}" if family in times else ""
            for family in ("best_torch", "best_keras", "stock_flax")
        )
        rate = result["contenders"]["ours"]["images_per_second"]
        rows.append(f"| {describe_work(result['settings'])} | {rate:,.0f} | {' | '.join(shown)} |")
    measured = dict.fromkeys(f"{result['device']}; {_provenance(result)}" for result in results)
    rows.append(f"\n[The networks](benchmarks/networks/__init__.py); {'; '.join(measured)}")
    return "\n".join(rows)


def _accuracy_table(results: list[dict[str, Any]]) -> str:
    rows = [
        "| configuration | mean accuracy | seconds of training | n | device | measured |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for result in results:
        spread = "" if result["sd_accuracy"] is None else f" ± {100 * result['sd_accuracy']:.2f}"
        rows.append(
            f"| `{result['settings']['config_file']}` | {100 * result['mean_accuracy']:.2f}{spread} % | "
            f"{result['mean_train_seconds']:.2f} | {result['n']} | {result['device']} | "
            f"{_provenance(result)} |"
        )
    rows.append(
        f"\nMean and SD of {results[0]['split']} accuracy over seeds, each evaluated once, after its last "
        "step. `-dirty`: measured with changes that were not committed."
    )
    return "\n".join(rows)


def _versions(result: dict[str, Any]) -> str:
    shown = ("jax", "torch", "keras", "tensorflow", "tensorflow-cpu")
    return ", ".join(f"{name} {result['versions'][name]}" for name in shown if result["versions"].get(name))


def _provenance(result: dict[str, Any]) -> str:
    return f"{result['machine']['date'][:10]}, commit {commit_of(result)}"


if __name__ == "__main__":
    sys.exit(cli.run_main(main, COMMAND))
