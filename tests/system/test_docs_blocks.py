"""Every command and code block of README.md and docs/ is executed by some test."""

import re
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, Block, all_blocks, blocks_of

FETCHED = re.compile(r"docs_(?:story|text)\(\s*\"([^\"]+)\"")
EXECUTABLE = re.compile(
    r"\s*(?:\$ |prynt |prynt-relay |curl |pip |python3? |systemctl |import |from \S+ import )"
)


def fetched() -> set[str]:
    """The stories that tests, or CI itself, fetch."""
    found: set[str] = set()
    for file in [ROOT / ".ci" / "run", *(ROOT / "tests").rglob("*.py")]:
        if file.name not in ("docs_blocks.py", "test_docs_blocks.py"):
            found.update(FETCHED.findall(file.read_text()))
    return found


PLAIN = ("text", "mermaid")
"""Languages of blocks that are there to be looked at."""

BLOCKS = all_blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_a_block_is_executed_or_plainly_not_code(block: Block) -> None:
    """A block belongs to a story that a test fetches, or is `text` and looks like no command."""
    if block.language in PLAIN:
        commands = [line for line in block.text.splitlines() if EXECUTABLE.match(line)]
        assert not commands, (
            f"{block.place} is {block.language}, but has a command: {commands[0]!r}"
        )
        assert not block.story, f"{block.place}: {block.language} can't be executed"
        return
    assert block.language, f"{block.place} needs a language, `text` where it is no code"
    assert block.story, f"{block.place} ({block.language}) has no test=NAME: who executes it?"
    assert block.story in fetched(), f"{block.place}: no test fetches test={block.story}"


def test_every_story_that_is_fetched_is_written() -> None:
    """No test asks for a story that the documents don't have (any more)."""
    assert fetched() <= {block.story for block in BLOCKS}


def test_blocks_are_found_as_markdown_has_them() -> None:
    """Fences of both kinds, longer ones around shorter, and indented ones in lists are read."""
    page = (
        "```sh test=one two\necho 1\n```\n"
        "~~~~text\n```sh\nno block of its own\n```\n~~~~\n"
        "1. a list\n\n   ```toml test=three\n   a = 1\n     b = 2\n   ```\n"
        "Inline ```code``` is no block.\n"
    )
    found = [tuple(block)[1:] for block in blocks_of(Path("page.md"), page)]
    assert found == [
        (1, "sh", "one", "echo 1\n"),
        (4, "text", "", "```sh\nno block of its own\n```\n"),
        (11, "toml", "three", "a = 1\n  b = 2\n"),
    ]


def test_a_block_that_is_not_closed_is_noticed() -> None:
    """A page that ends inside a block fails instead of swallowing the rest."""
    with pytest.raises(AssertionError, match=r"page\.md:2"):
        blocks_of(Path("page.md"), "text\n```sh\necho\n")
