"""``python -m mnist_jax.verify``: whether a run is what its certificate says."""

import sys

from mnist_jax import cli
from mnist_jax.errors import ConfigError

COMMAND = cli.Command(
    "python -m mnist_jax.verify",
    "Checks the files, arrays and data of a run against certificate.json; with --segment or --all it also\n"
    "trains a part of the run, or all of it, again from its checkpoints, and compares every bit.",
    (
        cli.Flag(
            "segment",
            "",
            "part to train again: its number, from 0; each begins with a checkpoint",
            pattern=r"(\d{1,6})?",
            pattern_means="the number of a segment",
            metavar="K",
        ),
        cli.Flag("all", False, "train all segments again"),
    ),
    positional="RUN",
    positional_description="folder of a run",
)


def main(arguments: cli.Arguments) -> int:
    """Says what is as certified and what is not, one line each."""
    if arguments["all"] and arguments["segment"]:
        raise ConfigError(["--segment and --all: both given; expected one of them"])
    if len(arguments.positional) != 1:
        given = len(arguments.positional)
        raise ConfigError([f"RUN: {given} given; expected the folder of one run"])
    from pathlib import Path

    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.storage.certificate import read_certificate
    from mnist_jax.terminal.format import printable
    from mnist_jax.verify.files import check_run
    from mnist_jax.verify.replay import Replay, explain

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    folder = Path(arguments.positional[0])
    findings = check_run(folder)
    word = "all" if arguments["all"] else arguments["segment"]
    certificate = read_certificate(folder)
    if word and findings.faults:
        findings.checked.append("nothing was trained again: first comes what is not as certified")
    elif word:
        replay = Replay(folder, certificate)
        for segment in replay.chosen(word):
            difference = replay.run(segment, lambda text: print(text, file=sys.stderr))
            if difference:
                findings.faults.append(f"{segment}: {difference} ({explain(certificate)})")
            else:
                findings.checked.append(f"{segment}: trained again, equal bit for bit")
    arguments.print_json(
        {
            "workdir": folder,
            "sha256": certificate.sha256,
            "intact": not findings.faults,
            "checked": findings.checked,
            "faults": findings.faults,
        }
    )
    for line in findings.checked:
        print(printable(line))
    print(f"sha256 {certificate.sha256}")
    for fault in findings.faults:
        print(printable(f"error: {fault}"), file=sys.stderr)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
