"""The pages of the documentation as their fenced blocks and their text.

What the first word after a fence says is what becomes of the block: ``python`` is run, in order, in the
page's own namespace; ``python FILE NAME`` quotes that function or class; ``sh`` is checked command by command
(and run, where it only reads a run); ``json`` must be JSON; ``text`` is output or a sketch, and only shown.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]

_FENCE = re.compile(r"^(`{3,})(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        info: what stands behind the opening fence.
        line: number of its first line in the page, from 1.
        text: its lines.
    """

    info: str
    line: int
    text: str

    @property
    def kind(self) -> str:
        return self.info.split(" ")[0]


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_page(path: Path) -> tuple[list[Block], str]:
    """The fenced blocks of a page, and its text without them (their lines are empty)."""
    blocks, prose, opened = [], [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened = (fence[1], fence[2], number + 1, [])
        elif opened is not None and fence and fence[1] == opened[0] and not fence[2]:
            blocks.append(Block(opened[1], opened[2], "\n".join(opened[3])))
            opened = None
        elif opened is not None:
            opened[3].append(line)
        prose.append("" if opened or fence else line)
    assert opened is None, f"{page_id(path)}:{opened[2]}: a fence is not closed"
    return blocks, "\n".join(prose)
