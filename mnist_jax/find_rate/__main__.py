"""``python -m mnist_jax.find_rate``: trains one epoch with a rising learning rate, and suggests one."""

import contextlib
from typing import TYPE_CHECKING, Any

from mnist_jax import cli

if TYPE_CHECKING:
    from mnist_jax.find_rate.suggestion import Suggestion
    from mnist_jax.find_rate.sweep import Sweep

COMMAND = cli.Command(
    "python -m mnist_jax.find_rate",
    "Trains one epoch as configured while the learning rate rises from update to update, and suggests a\n"
    "learning rate. Leaves DIR/find_rate.json and DIR/find_rate.png; no network is kept.",
    (
        cli.Flag(
            "workdir",
            "",
            "folder for the two files; left out = runs/find_rate-CONFIG-TIME, new each time",
            non_empty=True,
            metavar="DIR",
        ),
        cli.Flag("lowest", 1e-6, "the first learning rate", more_than=0, metavar="RATE"),
        cli.Flag("highest", 10.0, "the last learning rate", more_than=0, metavar="RATE"),
    ),
    takes_config=True,
)
JSON_FILE, FIGURE_FILE = "find_rate.json", "find_rate.png"


def main(arguments: cli.Arguments) -> int:
    """Sweeps, writes the two files and prints the suggestion."""
    from mnist_jax.errors import ConfigError, RunError
    from mnist_jax.find_rate.figure import draw_sweep
    from mnist_jax.find_rate.suggestion import suggest
    from mnist_jax.find_rate.sweep import sweep_rates
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.runtime.distributed import refuse_several
    from mnist_jax.storage.json_files import write_json_atomic
    from mnist_jax.storage.workdir import new_workdir, open_workdir
    from mnist_jax.terminal.console import RunConsole
    from mnist_jax.train import default_name

    config, lowest, highest = arguments.config, arguments["lowest"], arguments["highest"]
    if lowest >= highest:
        raise ConfigError([f"--lowest: expected less than --highest = {highest:g}, got {lowest:g}"])
    refuse_several("a search for a learning rate", **config.distributed)
    console = RunConsole()
    enable_compile_cache(console.note)
    with contextlib.ExitStack() as held:
        name = f"find_rate-{default_name(arguments.config_file)}"
        workdir = arguments["workdir"] or str(held.enter_context(new_workdir("runs", name)))
        folder = held.enter_context(open_workdir(workdir))
        sweep = sweep_rates(config, lowest, highest, console)
        try:
            suggestion = suggest(sweep.rates, sweep.losses)
        except ValueError as error:
            raise RunError(
                f"{error} from --lowest {lowest:g} on; expected a lower one, or more images"
            ) from error
        record = _describe(arguments, sweep, suggestion)
        draw_sweep(sweep.rates, sweep.losses, suggestion).savefig(folder / FIGURE_FILE, dpi=150)
        write_json_atomic(folder / JSON_FILE, record)
    shown = {name: value for name, value in record.items() if name not in ("rates", "losses", "smoothed")}
    arguments.print_json({**shown, "workdir": str(folder)})
    ended = "the whole epoch" if suggestion.num_used == len(sweep.rates) else "where the loss diverged"
    console.row("swept", f"{suggestion.num_used:,} updates with {config.optim.name}, up to {ended}")
    console.row("lowest", f"smoothed loss {suggestion.lowest_loss:.4f} at {suggestion.lowest_at:.2g}")
    console.row("found", f"learning rate {suggestion.learning_rate:.2g}: {record['how']}", "bold green")
    console.row("files", str(folder))
    console.row("", f"{JSON_FILE}  {FIGURE_FILE}")
    console.row("next", f"--config.optim.learning_rate={suggestion.learning_rate:.2g}")
    return 0


def _describe(arguments: cli.Arguments, sweep: "Sweep", suggestion: "Suggestion") -> dict[str, Any]:
    from mnist_jax.config.check import as_dict
    from mnist_jax.find_rate.suggestion import HOW
    from mnist_jax.runtime.environment import collect_versions, describe_device, running_commit

    used = suggestion.num_used
    return {
        "learning_rate": suggestion.learning_rate,
        "how": HOW,
        "lowest_loss": suggestion.lowest_loss,
        "lowest_loss_at": suggestion.lowest_at,
        "diverged_at": float(sweep.rates[used]) if used < len(sweep.rates) else None,
        "num_updates": used,
        "rates": sweep.rates[:used].tolist(),
        "losses": sweep.losses[:used].tolist(),
        "smoothed": suggestion.smoothed.tolist(),
        "config": as_dict(arguments.config),
        **describe_device(),
        "versions": collect_versions(),
        "git_commit": running_commit(),
    }


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
