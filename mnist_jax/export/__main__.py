"""``python -m mnist_jax.export``: a trained network as a file that other programs can load."""

import os
from pathlib import Path

from mnist_jax import cli
from mnist_jax.errors import ConfigError, RunError

FORMATS = ("stablehlo", "onnx")

COMMAND = cli.Command(
    "python -m mnist_jax.export",
    "Writes a network as one file: uint8 pixels in, probabilities out, for any number of images. The file is "
    "read back and compared with the network before it is put in place.",
    (
        cli.WORKDIR,
        cli.CHECKPOINT,
        cli.Flag(
            "format",
            "stablehlo",
            "stablehlo for jax.export (CPU, CUDA and TPU), or onnx (needs the extra onnx)",
            choices=FORMATS,
            metavar="|".join(FORMATS),
        ),
        cli.Flag("out", "", "the file to write", non_empty=True, metavar="FILE", required=True),
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Exports one checkpoint, checks the export and puts it in place."""
    out = Path(arguments["out"]).absolute()
    _check_out(out)
    from mnist_jax.export.onnx import from_onnx, require_onnx, to_onnx
    from mnist_jax.export.predict_function import (
        check_predictions,
        describe_model,
        images_to_check_on,
        make_predict_function,
    )
    from mnist_jax.export.stablehlo import from_stablehlo, to_stablehlo
    from mnist_jax.run.load import load
    from mnist_jax.storage.json_files import replace_file
    from mnist_jax.terminal.format import format_percent, printable

    is_onnx = arguments["format"] == "onnx"
    if is_onnx:
        require_onnx()
    model = load(arguments["workdir"], arguments["checkpoint"])
    metadata = describe_model(model, arguments["workdir"])
    function = make_predict_function(model)
    content = (to_onnx if is_onnx else to_stablehlo)(function, model.image_shape, metadata)
    images = images_to_check_on(model.image_shape)
    reloaded = from_onnx(content) if is_onnx else from_stablehlo(content)[0]
    difference = check_predictions(reloaded, model, images)
    replace_file(out, content)
    facts = {
        "file": str(arguments["out"]),
        "format": arguments["format"],
        "bytes": len(content),
        "checked_images": len(images),
        "max_probability_difference": difference,
        "metadata": metadata,
    }
    arguments.print_json(facts)
    accuracy = metadata["test_accuracy"]
    measured = "" if accuracy is None else f", test accuracy {format_percent(accuracy)}"
    print(printable(f"{facts['file']}: {arguments['format']}, {len(content):,} bytes"))
    print(printable(f"step {model.step} on {metadata['dataset']['name']}{measured}"))
    print(f"read back: the same labels on {len(images)} images, probabilities within {difference:.1e}")
    return 0


def _check_out(out: Path) -> None:
    # Found out now, not after the work.
    if out.is_dir():
        raise ConfigError([f"--out: {out} is a folder; expected the name of a file"])
    if not out.parent.is_dir():
        raise RunError(f"cannot write {out}: there is no folder {out.parent}; make it first")
    if not os.access(out.parent, os.W_OK):
        raise RunError(f"cannot write {out}: the folder is not writable")


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
