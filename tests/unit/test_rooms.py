"""Who may know whom: the table of docs/architecture.md against what the modules import."""

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "prynt_relay"
EVERYBODYS: Final = {"clock", "errors", "escape", "version"}


def room_of(module: str) -> str:
    """The room of a module below the package; the operator's command line is one of its own."""
    first, _, rest = module.removeprefix(f"{PACKAGE}.").partition(".")
    return "cli/prynt" if first == "cli" and rest.partition(".")[0] == "prynt" else first


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == PACKAGE:
                found |= {f"{PACKAGE}.{alias.name}" for alias in node.names}
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith(f"{PACKAGE}.")}


def test_the_drawn_arrows_are_those_of_the_imports() -> None:
    """Each room imports the rooms that its line names, all of them and no others."""
    known: dict[str, set[str]] = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        if path.parent != ROOT / PACKAGE or path.stem != "__init__":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            names = {room_of(name) for name in imported(path)}
            known.setdefault(room_of(module), set()).update(names)
    for room, names in known.items():
        names -= {room, *EVERYBODYS}
    page = (ROOT / "docs/architecture.md").read_text()
    table = page.partition("| knows of |\n| --- | --- | --- |\n")[2].partition("\n\n")[0]
    drawn: dict[str, set[str]] = {}
    for line in table.splitlines():
        rooms, _, knows = line.removeprefix("|").removesuffix("|").split("|")
        for room in re.findall(r"`(.+?)`", rooms):
            drawn[room] = set(re.findall(r"`(.+?)`", knows))
    # The operators' command line is a folder of the other's, and uses what both share.
    known["cli/prynt"].discard("cli")
    known["cli"].discard("cli/prynt")
    assert known == drawn
