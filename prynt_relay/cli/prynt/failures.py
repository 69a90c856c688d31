"""Failures of a command, each one line that says what to do."""

import click


class CommandError(click.ClickException):
    """The command failed (exit code 1); the message says what was wrong and what to do.

    `problem` is the API's own answer as JSON text, where there is one: `--json` prints it. `status`
    is the answer's.
    """

    def __init__(
        self, message: str, *, problem: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.status = status
