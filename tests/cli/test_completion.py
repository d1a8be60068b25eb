"""The completion scripts, run by the shells they are for."""

import shutil
import subprocess

import pytest

from mnist_jax.__main__ import COMMANDS, load_command
from mnist_jax.cli.completion import completion_script


@pytest.fixture(scope="module")
def commands():
    return {name: load_command(name)[1] for name in COMMANDS}


# Words before the one at the cursor, that word, some of what is offered, some of what is not.
PLACES = [
    ([], "", ["train", "pseudo_label", "--version"], ["--workdir"]),
    ([], "tr", ["train"], ["predict"]),
    (["train"], "", ["--config", "--workdir", "--config.seed"], ["train", "--checkpoint"]),
    (["train"], "--config.optim.l", ["--config.optim.learning_rate"], ["--config.optim.b1", "--config"]),
    (["train", "--config"], "", ["default", "smoke"], ["--workdir", "__init__"]),
    (["train", "--config.model.dtype"], "", ["float32", "bfloat16"], ["--config"]),
    (["train", "--config.report"], "f", ["false"], ["true"]),
    (["train", "--config=smoke"], "--wo", ["--workdir"], []),
    (["study", "--split"], "", ["validation", "test"], []),
    (["evaluate", "--checkpoint"], "", ["latest", "best"], ["STEP"]),
    (["evaluate", "--json"], "", ["--workdir"], ["true"]),
    (["export"], "--format=o", ["onnx"], ["stablehlo"]),
    (["predict"], "--", ["--top"], ["--config", "IMAGE"]),
    (["list"], "", ["configs", "models", "optimizers"], ["--json"]),
    (["completion"], "", ["bash", "zsh"], []),
    (["nonsense"], "", ["file.txt"], ["--workdir"]),
    (["train", "--workdir"], "f", ["file.txt"], ["--config"]),
    (["predict"], "f", ["file.txt"], ["--workdir"]),
    (["train", "--config.seed"], "", ["file.txt"], ["--config"]),
]


def offered_by_bash(script, words, word):
    # Bash itself takes a word apart at "=".
    split = [part for one in [*words, word] for part in one.replace("=", " = ").split(" ")]
    program = (
        f"{script}\nCOMP_WORDS=(mnist-jax {' '.join(part or repr('') for part in split)})\n"
        f"COMP_CWORD={len(split)}\n_mnist_jax\n"
        # What `complete -o default` does where nothing is offered.
        f'(( ${{#COMPREPLY[@]}} )) || COMPREPLY=($(compgen -f -- "{split[-1]}"))\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return program, ["bash", "--norc", "-c"]


def offered_by_zsh(script, words, word):
    # Stands in for the completion system, which needs a terminal: shows what the function hands to it.
    program = (
        "compdef() { }\ncompset() { shown=${words[CURRENT]#*=} }\n"
        "_files() { compadd -- *(N) }\n"
        'compadd() { shift; local one; for one; do [[ $one == "$shown"* ]] && print -r -- $one; done }\n'
        f"{script}\nwords=(mnist-jax {' '.join(part or repr('') for part in [*words, word])})\n"
        f"CURRENT={len(words) + 2}\nshown=$words[CURRENT]\n_mnist_jax"
    )
    return program, ["zsh", "-f", "-c"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(("words", "word", "offered", "not_offered"), PLACES)
def test_what_is_offered(commands, tmp_path, shell, words, word, offered, not_offered):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} is installed")
    (tmp_path / "file.txt").touch()
    make = offered_by_bash if shell == "bash" else offered_by_zsh
    program, command = make(completion_script(shell, commands), words, word)
    done = subprocess.run([*command, program], capture_output=True, text=True, cwd=tmp_path, timeout=30)
    shown = done.stdout.split()
    assert done.stderr == ""
    assert set(offered) <= set(shown) and not set(not_offered) & set(shown), shown
