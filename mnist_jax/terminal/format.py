"""Numbers, names and commands as text for a terminal."""

import shlex
from collections.abc import Mapping


def format_percent(fraction: float, decimals: int = 2) -> str:
    """Returns a fraction in percent, such as ``"99.55%"``: with two decimals one example in 10,000 shows."""
    return f"{100 * fraction:.{decimals}f}%"


def format_bytes(size: float) -> str:
    """Returns bytes in the unit that suits them, such as ``"7.2 MB"``: powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.95 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def format_duration(seconds: float) -> str:
    """Returns seconds as people say them: ``"8.4 s"``, ``"1 min 25 s"``, ``"2 h 03 min"``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def describe_disputed(found: Mapping[str, int]) -> str:
    """Says how many errors are on disputed labels, see ``disputed_labels`` in ``summary.json``."""
    agree = (
        f"; of {found['as_reviewers']} more reviewers say the answer than the label"
        if found["errors"]
        else ""
    )
    return f"{found['errors']} on the {found['images']} test labels that reviewers dispute{agree}"


def printable(text: str) -> str:
    """Escapes what would move the cursor or draw a line of its own: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote_word(text: str) -> str:
    """Quotes a word of a command that a person may copy into a shell; nothing in it acts when pasted."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else _octal(c) for c in escaped) + "'"


def _octal(character: str) -> str:
    try:
        encoded = character.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        encoded = character.encode(errors="surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in encoded)
