"""Printing that cannot harm a run: real pipes, closed descriptors, full devices, poor encodings."""

import io
import os
import subprocess
import sys

import pytest

from mnist_jax.terminal.streams import PatientStream

PRINTS = (
    "from mnist_jax.terminal.console import RunConsole\n"
    "console = RunConsole()\n"
    "for number in range(20000): console.note('line ' + str(number))\n"
    "import sys; sys.stderr.write(f'went on, enabled={console.enabled}')\n"
)


def run_shell(line, program=PRINTS, **variables):
    environ = {**os.environ, "PROGRAM": program, "PYTHON": sys.executable, **variables}
    result = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, check=False)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_reader_that_leaves_ends_the_printing_and_not_the_run(variables):
    line = '"$PYTHON" -c "$PROGRAM" | head -n 1; exit ${PIPESTATUS[0]}'
    assert run_shell(line, **variables) == (0, b"line 0\n", b"went on, enabled=False")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_full_disk_under_the_output_ends_the_printing_and_not_the_run(variables):
    line = '"$PYTHON" -c "$PROGRAM" > /dev/full'
    assert run_shell(line, **variables) == (0, b"", b"went on, enabled=False")


def test_a_standard_output_that_was_never_open():
    assert run_shell('"$PYTHON" -c "$PROGRAM" >&-') == (0, b"", b"went on, enabled=False")


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
def test_held_streams_keep_their_numbers_from_files(closed):
    program = (
        "import os\n"
        "from mnist_jax.terminal.streams import hold_standard_streams\n"
        "hold_standard_streams()\n"
        "with open(os.environ['TARGET'], 'w') as file: file.write(str(file.fileno() > 2))\n"
    )
    line = f'TARGET=$(mktemp); export TARGET; ("$PYTHON" -c "$PROGRAM" {closed}); cat "$TARGET"; rm "$TARGET"'
    assert run_shell(line, program)[1] == b"True"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"caf\\xe9 \\u2713 \\udcff\n"),
        ({"PYTHONIOENCODING": "latin-1"}, b"caf\xe9 \\u2713 \\udcff\n"),
        ({"PYTHONIOENCODING": "utf-8"}, "café ✓ \\udcff\n".encode()),
        ({"LC_ALL": "C"}, "café ✓ ".encode()),
    ],
)
def test_characters_that_the_encoding_lacks_are_escaped(variables, expected):
    program = (
        "from mnist_jax.terminal.console import RunConsole; RunConsole().note('caf\\u00e9 \\u2713 \\udcff')"
    )
    code, output, errors = run_shell('"$PYTHON" -c "$PROGRAM"', program, **variables)
    assert (code, errors) == (0, b"")
    assert output.startswith(expected)


def test_a_stream_that_was_closed_here_is_given_up():
    below = io.StringIO()
    stream = PatientStream(below)
    below.close()
    stream.write("x")
    stream.flush()
    assert stream.broken
    assert not stream.isatty()
