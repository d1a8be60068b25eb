"""Every code block of the documentation is run, checked, or marked as output; pages.py explains the marks."""

import ast
import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from mnist_jax import cli
from tests.docs.commands import check_command, command_lines, fill_placeholders
from tests.docs.pages import PAGES, ROOT, Block, page_id, read_page

KINDS = ("python", "sh", "json", "text")
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

# What only reads a run is run for real, on `runs/default` of the page's folder.
READERS = (
    "mnist_jax.evaluate",
    "mnist_jax.predict",
    "mnist_jax.export.__main__",
    "mnist_jax.report.__main__",
)
RUN = "runs/default"


@pytest.fixture
def folder(tmp_path, monkeypatch, small_run, small_data) -> Path:
    """A folder like a checkout in which a run is finished, with a few pictures to ask about."""
    monkeypatch.delenv("MNIST_JAX_DATA_DIR", raising=False)
    # Most of the time of a report here: programs of tests are hardly optimized.
    monkeypatch.setattr("mnist_jax.report.robustness.NUM_IMAGES", 10)
    shutil.copytree(small_run, tmp_path / RUN)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    images = small_data.test.images
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "seven.png")
    np.save(tmp_path / "digits.npy", images[:3])
    for name in ("page.jpg", "form.png"):
        page = 255 - np.pad(np.hstack(images[:4, ..., 0]), 20)
        Image.fromarray(page).resize((4 * page.shape[1], 4 * page.shape[0])).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def small_data():
    from mnist_jax.data import load_splits

    return load_splits("mnist_5k")


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_block_says_what_it_is(path):
    blocks, prose = read_page(path)
    for block in blocks:
        assert block.kind in KINDS, f"{page_id(path)}:{block.line}: expected one of {KINDS} behind the fence"
    indented = re.findall(r"^ {4,}(?:python|make|import|curl|pip) .*", prose, re.MULTILINE)
    assert not indented, "commands and code stand in fenced blocks"


@pytest.mark.parametrize(
    "path", [path for path in PAGES if any(b.kind != "text" for b in read_page(path)[0])], ids=page_id
)
def test_blocks_run(path, folder):
    blocks, _ = read_page(path)
    names: dict = {"__name__": path.stem}
    for block in blocks:
        with _told_where(path, block):
            if block.kind == "json":
                json.loads(block.text)
            elif block.kind == "sh":
                _run_commands(block)
            elif block.info == "python":
                # Line numbers of a traceback are then those of the page.
                source = "\n" * (block.line - 1) + block.text
                exec(compile(source, str(path), "exec"), names)
            elif block.kind == "python":
                _check_quotation(block)


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_commands_in_the_text(path, folder):
    _, prose = read_page(path)
    for line in re.findall(r"`((?:python -m|mnist-jax|make|pip install) [^`]+)`", prose):
        with _told_where(path, line):
            # Without an argument it is the name of a command, which may need some.
            is_name = line.startswith("python -m") and line.count(" ") == 2
            check_command(f"{line} --help" if is_name else fill_placeholders(line))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_commands_of_a_config(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    lines = re.findall(r"^ {4}(python .*)", docstring, re.MULTILINE)
    assert lines
    for line in lines:
        check_command(line)


def test_plain_orbax_reads_what_the_page_says(folder):
    from mnist_jax import load

    (snippet,) = (
        block.text for block in read_page(ROOT / "docs" / "checkpoints.md")[0] if block.info == "python"
    )
    assert "mnist_jax" not in snippet
    names: dict = {}
    exec(snippet, names)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(names["checkpoint"]))
    model = load(RUN, "latest")
    jax.tree.map(np.testing.assert_array_equal, names["variables"], model.variables)
    assert names["meta"]["step"] == model.step


def _run_commands(block: Block) -> None:
    for line in command_lines(block.text):
        checked = check_command(line)
        if checked is None or checked[0].__name__ not in READERS or RUN not in line:
            continue
        module, arguments = checked
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = cli.run_main(module.main, module.COMMAND, arguments)
        assert code == 0, f"{line}: {said.getvalue()}"


def _check_quotation(block: Block) -> None:
    """``python FILE NAME``: each line stands in that function or class, in this order; ``...`` leaves out."""
    _, file, name = block.info.split(" ")
    lines = iter(_source(file, name))
    for line in map(str.strip, block.text.splitlines()):
        assert not line or line == "..." or line in lines, f"{file} {name} has no line {line!r} there"


def _source(file: str, name: str) -> list[str]:
    nodes: list[ast.AST] = [ast.parse((ROOT / file).read_text())]
    for part in name.split("."):
        found = [
            node
            for node in ast.walk(nodes[-1])
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        ]
        assert found, f"{file} has no {name}"
        nodes.append(found[0])
    text = ast.get_source_segment((ROOT / file).read_text(), nodes[-1])
    assert text is not None
    return [line.strip() for line in text.splitlines()]


@contextlib.contextmanager
def _told_where(path: Path, where: Block | str):
    try:
        yield
    except Exception as error:
        place = f"line {where.line}" if isinstance(where, Block) else where
        error.add_note(f"in {page_id(path)}, {place}")
        raise
