"""``python -m mnist_jax.predict``: what a trained network sees in people's own pictures."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mnist_jax import cli
from mnist_jax.errors import ConfigError, DataError, RunError
from mnist_jax.terminal.format import format_percent, printable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mnist_jax.data.pictures.read import Picture

# `data.pictures.doubt.DEFAULT_THRESHOLD`, which is not imported for the sake of --help alone.
_THRESHOLD = 0.4

# As many files as one may look through.
_MOST_SHEETS = 100

COMMAND = cli.Command(
    "python -m mnist_jax.predict",
    "Classifies pictures of any size and mode, dark on light or light on dark: they are brought to the form "
    "of the data that the run was trained on. Says where an answer is unsure or there is no single digit. "
    "Exits with 0 if all were read, 1 if any could not be.",
    (
        cli.WORKDIR,
        cli.CHECKPOINT,
        cli.Flag(
            "top", 1, "show this many classes of each picture, the likeliest first", at_least=1, metavar="K"
        ),
        cli.Flag("show", False, "show what the network was given, in block characters"),
        cli.Flag(
            "steps",
            "",
            "write every step of the preparation, or with multi of the reading, side by side, here as PNG; a "
            f"folder, or a file for one picture; of more than {_MOST_SHEETS} pictures the first ones",
            metavar="PATH",
        ),
        cli.Flag(
            "threshold",
            _THRESHOLD,
            "an answer less probable than this is unsure; 0 for never",
            at_least=0.0,
            at_most=1.0,
            metavar="P",
        ),
        cli.Flag("multi", False, "read pages of digits: phone numbers, forms, tables, line by line"),
        cli.Flag(
            "boxes",
            "",
            "with multi: write the pages with a box and an answer at each digit here, as PNG; a folder, or a "
            "file for one page",
            metavar="PATH",
        ),
        cli.Flag("csv", "", "write the answers here as Kaggle takes them: ImageId,Label", metavar="FILE"),
    ),
    positional="IMAGE",
    positional_description="picture files (PNG, JPEG, BMP, WebP, GIF, TIFF, ...), .npy files with one "
    "picture or many, .csv files with a picture a row, folders of them, or - for standard input",
)

_MOST_COLUMNS = 64


def main(arguments: cli.Arguments) -> int:
    """Answers every picture or page that was named and prints the answers in that order."""
    if not arguments.positional:
        raise ConfigError(["IMAGE: is missing; give picture files, folders, or - for standard input"])
    _check_flags(arguments)
    from mnist_jax.data.pictures.worker import start_early

    start_early(arguments.positional)
    from mnist_jax.runtime.compilation import enable_compile_cache

    enable_compile_cache(lambda note: _print(note, sys.stderr))
    return _read_pages(arguments) if arguments["multi"] else _classify(arguments)


def _classify(arguments: cli.Arguments) -> int:
    """Classifies every picture that was named."""
    import functools

    import numpy as np

    from mnist_jax.data.pictures.doubt import find_doubt
    from mnist_jax.data.pictures.read import read_pictures
    from mnist_jax.run.load import load

    model = load(arguments["workdir"], arguments["checkpoint"])
    pictures = list(
        read_pictures(arguments.positional, model.preparation, _standard_input(), _num_sheets(arguments))
    )
    images = [picture.image for picture in pictures if picture.image is not None]
    answers = iter(model.predict(np.stack(images)) if images else [])
    doubt = functools.partial(
        find_doubt,
        class_names=model.class_names,
        preparation=model.preparation,
        threshold=arguments["threshold"],
    )
    labels = class_labels(model.class_names)
    rows = []
    for picture in pictures:
        if picture.image is None:
            rows.append(describe(picture, labels, None))
        else:
            answer = next(answers)
            rows.append(describe(picture, labels, answer, arguments["top"], doubt(picture.image, answer)))
    if arguments["csv"]:
        write_csv(arguments["csv"], rows)
    elif not arguments["json"]:
        _print_table(pictures, rows, arguments["show"])
    elif arguments["show"]:
        for picture, row in zip(pictures, rows, strict=True):
            _print(_name_of(row), sys.stdout)
            _print_image(picture.image, sys.stdout)
    arguments.print_json(rows)
    if arguments["steps"]:
        _write_steps(arguments["steps"], pictures)
    return 1 if any("error" in row for row in rows) else 0


def _num_sheets(arguments: cli.Arguments) -> int:
    return _MOST_SHEETS if arguments["steps"] else 0


def _write_steps(path: str, pictures: Sequence["Picture"]) -> None:
    """Writes the steps of every picture that has some."""
    from mnist_jax.data.pictures.outputs import name_outputs
    from mnist_jax.data.pictures.steps import draw_steps

    if len(pictures) > _MOST_SHEETS:
        note = f"steps: of the first {_MOST_SHEETS} of {len(pictures):,} pictures alone"
        _print(note, sys.stderr)
    shown = [picture for picture in pictures if picture.steps]
    for output, picture in zip(name_outputs(path, shown, "steps"), shown, strict=True):
        _write_file(output, draw_steps(picture.steps))


def _check_flags(arguments: cli.Arguments) -> None:
    if arguments["multi"] and arguments["csv"]:
        raise ConfigError(["csv: is a table of one answer a picture; expected it without multi"])
    if arguments["boxes"] and not arguments["multi"]:
        raise ConfigError(["boxes: is for pages; expected multi with it"])
    for name in ("boxes", "steps"):
        path = arguments[name]
        if os.path.exists(path) and not os.path.isdir(path) and not path.lower().endswith(".png"):
            raise ConfigError([f"{name}: {path} is a file; expected a folder, or a file named .png"])
    for name in ("csv", "boxes", "steps"):
        if arguments[name]:
            _refuse_input(name, arguments[name], arguments.positional)


def _standard_input() -> Any:
    return None if sys.stdin is None else sys.stdin.buffer.read


def _read_pages(arguments: cli.Arguments) -> int:
    """Reads every picture that was named as a page of digits."""
    from dataclasses import replace

    from mnist_jax.data.pictures.doubt import is_of_digits
    from mnist_jax.data.pictures.outputs import name_outputs
    from mnist_jax.data.pictures.pages import rows as page_rows
    from mnist_jax.data.pictures.pages.answer import answer_pages
    from mnist_jax.data.pictures.pages.draw import draw_boxes, last_step
    from mnist_jax.data.pictures.read import read_pictures
    from mnist_jax.run.load import load

    model = load(arguments["workdir"], arguments["checkpoint"])
    if not is_of_digits(model.class_names, model.preparation):
        raise ConfigError(
            [f"multi: {arguments['workdir']} does not read digits in MNIST's form; expected a run that does"]
        )
    pictures = list(read_pictures(arguments.positional, None, _standard_input(), _num_sheets(arguments)))
    pages = [picture.page.groups for picture in pictures if picture.page is not None]
    answers = iter(answer_pages(pages, model.predict, arguments["threshold"]))
    read = [(picture, [] if picture.page is None else next(answers)) for picture in pictures]
    rows = [page_rows.describe(picture, digits, arguments["top"]) for picture, digits in read]
    width = max([0, *(len(_name_of(row)) for row in rows if "error" not in row)])
    for (_, digits), row in zip(read, rows, strict=True):
        if "error" in row and not arguments["json"]:
            _print(f"error: {_name_of(row)}: {row['error']}", sys.stderr)
        elif not arguments["json"]:
            for line in page_rows.as_lines(row):
                _print(f"{_name_of(row):<{width}}  {line}", sys.stdout)
        if arguments["show"]:
            for digit in digits:
                _print_image(digit.image, sys.stdout)
    arguments.print_json(rows)
    if arguments["boxes"]:
        shown = [(picture, picture.page, digits) for picture, digits in read if picture.page is not None]
        outputs = name_outputs(arguments["boxes"], [picture for picture, _, _ in shown], "boxes")
        for output, (_, page, digits) in zip(outputs, shown, strict=True):
            _write_file(output, draw_boxes(page, digits))
    if arguments["steps"]:
        _write_steps(
            arguments["steps"],
            [
                replace(picture, steps=[*picture.steps, last_step(picture.page, digits)])
                if picture.page is not None and picture.steps
                else picture
                for picture, digits in read
            ],
        )
    return 1 if any("error" in row for row in rows) else 0


def _write_file(path: "Path", content: bytes) -> None:
    from mnist_jax.storage.json_files import replace_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent}: cannot be made ({error.strerror})") from error
    replace_file(path.absolute(), content)


def class_labels(class_names: Sequence[str]) -> list[int | str]:
    """Returns what stands for each class in an answer: the number for digits, else the name."""
    numbers = range(len(class_names))
    return list(numbers if list(class_names) == [str(number) for number in numbers] else class_names)


def describe(
    picture: "Picture",
    labels: Sequence[int | str],
    probabilities: "np.ndarray | None",
    top: int = 1,
    doubt: str = "",
) -> dict[str, Any]:
    """Puts one answer into plain values, as ``--json`` prints them.

    There are no probabilities (float32 ``[classes]``) where the picture could not be read. The likeliest
    classes are listed in ``top`` where that is more than one. ``doubt`` says why the answer is not to be
    trusted (`data.pictures.doubt.find_doubt`).

    Returns:
        ``{"file", "label", "probability", "probabilities", "unsure", "reason"}`` (the probabilities by class)
        or ``{"file", "error"}``; with ``index`` where the picture was one of several in a file.
    """
    row: dict[str, Any] = {"file": picture.file}
    if picture.index is not None:
        row["index"] = picture.index
    if probabilities is None:
        return {**row, "error": picture.error}
    from mnist_jax.data.pictures.answer import describe_answer

    return row | describe_answer(probabilities, labels, doubt, top)


def write_csv(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes ``ImageId,Label``: the number of each picture, from 1, and its class.

    Raises:
        DataError: a picture could not be read; nothing is written then.
        RunError: the file cannot be written.
    """
    import csv
    import io
    from pathlib import Path

    from mnist_jax.storage.json_files import replace_file

    faults = [row for row in rows if "error" in row]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise DataError(f"{_name_of(faults[0])}: {faults[0]['error']}{more}; {path} is not written")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["ImageId", "Label"])
    writer.writerows(enumerate((row["label"] for row in rows), start=1))
    replace_file(Path(path).absolute(), table.getvalue().encode())
    _print(f"{path}: {len(rows):,} answers", sys.stdout)


def _refuse_input(flag: str, path: str, images: Sequence[str]) -> None:
    if os.path.exists(path) and any(
        os.path.exists(image) and os.path.samefile(path, image) for image in images
    ):
        raise ConfigError([f"{flag}: {path} is one of the inputs; expected another file to write to"])


def block_picture(image: "np.ndarray", shades: str = " ░▒▓█") -> list[str]:
    """Draws an image in characters, light as full ones, one line a row of pixels.

    Colors are averaged, and large images thinned out to 64 columns; ``shades`` go from dark to light.
    """
    import numpy as np

    step = -(-image.shape[1] // _MOST_COLUMNS)
    levels = image[::step, ::step].mean(axis=-1) / 256 * len(shades)
    # Two characters side by side are about square.
    return ["".join(shades[level] * 2 for level in row) for row in levels.astype(np.int64)]


def _print_table(pictures: Sequence["Picture"], rows: Sequence[dict[str, Any]], show: bool) -> None:
    width = max([len("picture"), *(len(_name_of(row)) for row in rows if "error" not in row)])
    heading = f"{'picture':<{width}}  class and probability"
    for picture, row in zip(pictures, rows, strict=True):
        if "error" in row:
            _print(f"error: {_name_of(row)}: {row['error']}", sys.stderr)
            continue
        if heading:
            _print(heading, sys.stdout)
            heading = ""
        guesses = row.get("top", [] if row["unsure"] else [row])
        answers = [f"{guess['label']!s:>2} {format_percent(guess['probability']):>7}" for guess in guesses]
        doubt = [row["reason"]] if row["unsure"] else []
        _print(f"{_name_of(row):<{width}}  {'   '.join(doubt + answers)}", sys.stdout)
        if show:
            _print_image(picture.image, sys.stdout)


def _print_image(image: "np.ndarray | None", stream: Any) -> None:
    if image is not None:
        shades = " ░▒▓█"
        lines = block_picture(image, shades if _printable(shades, stream) == shades else " .:*#")
        print("\n".join([*lines, ""]), file=stream)


def _print(line: str, stream: Any) -> None:
    print(_printable(line, stream), file=stream)


def _name_of(row: dict[str, Any]) -> str:
    return row["file"] if "index" not in row else f"{row['file']}[{row['index']}]"


def _printable(text: str, stream: Any) -> str:
    """Escapes what a stream cannot take, and what would move the cursor."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


cli.make_callable(__name__, "mnist_jax.api:predict")

if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
