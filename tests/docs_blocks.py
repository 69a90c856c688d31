"""The fenced blocks of README.md and docs/, for the tests that execute them.

A block that can be executed names its story behind its language:

    ```sh test=quickstart

Blocks of one name, in the order of their file, are one story. The test that executes it fetches
it with `docs_story("quickstart")`; tests/system/test_docs_blocks.py fails for a block without a
story, for a story that no test fetches, and for one that is fetched and isn't written.
What isn't there to be executed (drawings, output, a fragment of a format) is a `text` block.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]

_FENCE: Final = re.compile(r"(?P<indent> *)(?P<fence>```+|~~~+)(?P<info>[^`]*)")
_STORY: Final = re.compile(r"test=(\S+)")


class Block(NamedTuple):
    """A fenced block; `line` is its fence's, `story` empty where it names none."""

    file: Path
    line: int
    language: str
    story: str
    text: str

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """Every page whose blocks count."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(file: Path, text: str) -> list[Block]:
    """The fenced blocks of a page, in order; AssertionError for one that isn't closed."""
    found = []
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        opening = _FENCE.fullmatch(line)
        if opening is None:
            continue
        indent, info = len(opening["indent"]), opening["info"].strip()
        content = []
        for _, inner in lines:
            if inner.strip() == opening["fence"]:
                break
            content.append(inner[indent:] if inner[:indent].isspace() else inner)
        else:
            raise AssertionError(f"{file}:{number}: the block isn't closed")
        story = _STORY.search(info)
        language = info.partition(" ")[0]
        body = "".join(f"{inner}\n" for inner in content)
        found.append(Block(file, number, language, story[1] if story else "", body))
    return found


def all_blocks() -> list[Block]:
    """Every block of every page."""
    return [block for file in documents() for block in blocks_of(file, file.read_text())]


def docs_story(name: str) -> list[Block]:
    """The blocks called `name`, in order; AssertionError where there is none."""
    found = [block for block in all_blocks() if block.story == name]
    assert found, f"no block of README.md or docs/ is marked test={name}"
    return found


def docs_text(name: str) -> str:
    """The one block called `name`."""
    (block,) = docs_story(name)
    return block.text
