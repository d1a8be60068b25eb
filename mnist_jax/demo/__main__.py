"""``python -m mnist_jax.demo``: opens a page to draw a digit on."""

import sys

from mnist_jax import cli

COMMAND = cli.Command(
    "python -m mnist_jax.demo",
    "Serves a page to draw a digit on: what the network of a run makes of it is shown while you draw.",
    (
        cli.Flag(
            "workdir",
            "",
            "folder of the run; left out = the newest below runs/",
            non_empty=True,
            metavar="DIR",
        ),
        cli.CHECKPOINT,
        cli.Flag(
            "port", 8000, "port of the page; 0 = any that is free", at_least=0, at_most=65535, metavar="N"
        ),
        cli.Flag(
            "host",
            "127.0.0.1",
            "address to listen on; 0.0.0.0 lets other machines in",
            non_empty=True,
            metavar="ADDRESS",
        ),
        cli.Flag(
            "allow_host",
            "",
            "further host names to answer to, such as that of a proxy in front, with commas between them",
            pattern=r"[A-Za-z0-9._-]*(,[A-Za-z0-9._-]+)*",
            pattern_means="host names with commas between them",
            metavar="NAME,...",
        ),
    ),
)


def main(arguments: cli.Arguments) -> int:
    """Loads the network, then serves the page until SIGTERM or Ctrl-C."""
    from mnist_jax.demo.about import describe_model
    from mnist_jax.demo.app import create_app
    from mnist_jax.demo.recognition import Recognizer
    from mnist_jax.demo.runs import newest_run
    from mnist_jax.demo.server import names_of, open_socket, serve, url_of
    from mnist_jax.run.load import load
    from mnist_jax.runtime.compilation import enable_compile_cache
    from mnist_jax.terminal.format import printable

    enable_compile_cache(lambda note: print(note, file=sys.stderr))
    with open_socket(arguments["host"], arguments["port"]) as opened:
        workdir = arguments["workdir"] or newest_run()
        recognizer = Recognizer(load(workdir, arguments["checkpoint"]))
        recognizer.warm_up()
        model = recognizer.model
        names = names_of(arguments["host"], arguments["allow_host"])
        app = create_app(recognizer, describe_model(workdir, recognizer), names)

        def say_ready() -> None:
            data = model.run["dataset"]["name"]
            arguments.print_json(
                {"workdir": workdir, "step": model.step, "url": url_of(opened), "dataset": data}
            )
            print(printable(f"{workdir}, step {model.step}, trained on {data}"))
            print(f"draw at {url_of(opened)}   (Ctrl-C ends this)", flush=True)

        return serve(app, opened, say_ready)


if __name__ == "__main__":
    cli.run_and_exit(main, COMMAND)
