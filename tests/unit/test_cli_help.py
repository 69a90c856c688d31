"""`prynt --help` and its kin: complete, consistent, and instant."""

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from prynt_relay.cli.prynt import prynt
from prynt_relay.cli.prynt.lazy_group import LazyGroup

CONTRACT = {
    "webhooks": "list create get update enable disable delete rotate-secret deliveries inspect "
    "test retry stream",
    "events": "list get send",
}
SHARED = {"--json", "--api-url", "--api-key"}


def commands(
    group: LazyGroup = prynt, context: click.Context | None = None
) -> Iterator[tuple[click.Context, click.Command, str]]:
    """Every command with its context and the line that its group lists it with."""
    context = context or click.Context(group, info_name="prynt")
    for name, (_, line) in group.subcommands.items():
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name)
        yield inner, command, line
        if isinstance(command, LazyGroup):
            yield from commands(command, inner)


def test_every_command_of_the_contract_is_there() -> None:
    """Section 7's commands, by their names."""
    found = {context.command_path for context, _, _ in commands()}
    wanted = {
        f"prynt {group} {name}" for group, names in CONTRACT.items() for name in names.split()
    }
    assert wanted | {"prynt listen", "prynt webhooks", "prynt events"} <= found


@pytest.mark.parametrize(
    ("context", "command"),
    [pytest.param(context, command, id=context.command_path) for context, command, _ in commands()],
)
def test_every_command_explains_itself(context: click.Context, command: click.Command) -> None:
    """Each has a help text that fits 80 columns, help for each option, and the shared options."""
    assert command.help
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    assert {name for option in options for name in option.opts} >= SHARED
    assert [option.name for option in options if not option.help] == []
    text = command.get_help(context)
    assert max(map(len, text.splitlines())) <= 80


def test_commands_with_arguments_show_examples() -> None:
    """What takes more than an id says how it is used."""
    plain = {"get", "enable", "disable", "delete", "list"}
    for context, command, _ in commands():
        if context.info_name not in plain:
            assert "Examples:" in command.get_help(context), context.command_path
            assert f"  {context.command_path}" in command.get_help(context)


def test_an_example_is_a_command_that_parses() -> None:
    """Every option in an example exists on the command that it shows."""
    for context, command, _ in commands():
        epilog = (command.epilog or "").split("\n")
        for line in (line.strip() for line in epilog if line.strip().startswith("prynt ")):
            words = line.split("#")[0].split()
            found: click.Command = prynt
            while isinstance(found, LazyGroup) and len(words) > 1:
                words = words[1:]
                inner = found.get_command(context, words[0])
                assert inner is not None, line
                found = inner
            known = {name for param in found.params for name in param.opts}
            used = {word for word in words if word.startswith("--")}
            assert used <= known, line


def test_completion_and_help_describe_a_command_alike() -> None:
    """The line in a group's list, known without importing the command, is its short help."""
    for _, command, line in commands():
        assert command.get_short_help_str(200) == line
        assert len(line) <= 60


def test_help_imports_nothing_heavy() -> None:
    """Neither rich nor http nor msgspec is loaded to show the top level's help."""
    code = (
        "import sys; from prynt_relay.cli.prynt import main; main(['--help']);"
        "heavy = {'rich', 'http.client', 'ssl', 'msgspec', 'aiohttp', 'asyncio', 'json'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "Commands:" in done.stdout


def test_help_costs_less_than_150_milliseconds() -> None:
    """The whole process, the median of ten, in processor time: what others do doesn't count."""
    command = [sys.executable, "-c", "from prynt_relay.cli.prynt import main; main(['--help'])"]
    took = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(took) < 0.150
