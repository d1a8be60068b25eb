"""Numbers as people read them."""

import subprocess

import pytest

from mnist_jax.terminal.format import format_duration, format_percent, printable, quote_word


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.44, "8.4 s"),
        (59.96, "1 min 00 s"),
        (85, "1 min 25 s"),
        (3599.6, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_percent_shows_one_example_in_ten_thousand():
    assert format_percent(0.9955) == "99.55%"
    assert format_percent(0.99551, 3) == "99.551%"
    assert format_percent(float("nan")) == "nan%"


def test_what_moves_the_cursor_is_escaped():
    assert printable("a\x1b[2J\nerror: b\u202e\udcff é 三") == "a\\x1b[2J\\nerror: b\\u202e\\udcff é 三"


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "two words",
        "x; touch PWN",
        "it's",
        "$(id)",
        "a\nb",
        "tab\t'\\",
        "\x03\x1b[2J é",
        "\udcff",
        "",
    ],
)
def test_a_quoted_word_is_one_line_and_one_word_for_the_shell(name):
    word = quote_word(name)
    assert word.isprintable()
    told = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert told == name.encode(errors="surrogateescape")
