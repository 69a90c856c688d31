"""What every `prynt` command is given: its connection, its output, its questions."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from prynt_relay.cli.prynt.api_client import TIMEOUT_S, Answer, ApiClient
from prynt_relay.cli.prynt.credentials import ApiKey, NoApiKeyError, find_api_key
from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.options import connection_options
from prynt_relay.cli.prynt.terminal import Terminal
from prynt_relay.escape import safe_json, safe_line

_PROBE_S: Final = 2.0
DEFAULT_API_URL: Final = "http://127.0.0.1:8420"


class Session:
    """One command's doings with the API and the terminal."""

    def __init__(self, context: click.Context) -> None:
        self._meta = context.meta
        self.terminal = Terminal()
        self._open: list[ApiClient] = []

    @property
    def json(self) -> bool:
        """Whether the command was asked for JSON."""
        return bool(self._meta.get("prynt.json"))

    @property
    def api_url(self) -> str:
        """The API's address: the option's, the environment's or the default."""
        given = self._meta.get("prynt.api_url") or os.environ.get("PRYNT_API_URL")
        return str(given or DEFAULT_API_URL)

    @functools.cached_property
    def client(self) -> ApiClient:
        """The API; raises CommandError without a key, click.UsageError for a bad address."""
        return self.connect()

    def connect(self, timeout_s: float = TIMEOUT_S) -> ApiClient:
        """Return a client of its own, for a stream or a shorter patience."""

        def find_key() -> ApiKey:
            return find_api_key(self._meta.get("prynt.api_key"), os.environ)

        try:
            key = find_key()
        except NoApiKeyError:
            # Where no daemon ever ran there is no key either: then that is the news.
            ApiClient(self.api_url, ApiKey("", ""), timeout_s=_PROBE_S).check_reachable()
            raise
        client = ApiClient(self.api_url, key, timeout_s=timeout_s, find_key=find_key)
        self._open.append(client)
        return client

    def close(self) -> None:
        """Close the connections."""
        for client in self._open:
            client.close()

    def print_json(self, answer: Answer) -> None:
        """Print an answer's text on a line of its own, with the same meaning."""
        write_json(answer.text)

    def may_go_on(self, question: str, *, yes: bool) -> None:
        """Ask on a terminal; off one, or with `yes`, go on. Raises CommandError at a no."""
        if yes or not self.asks():
            return
        self.client.close()  # a daemon gives up idle connections while a person thinks
        if not click.confirm(safe_line(question), err=sys.stderr.isatty()):
            raise CommandError("nothing was done")

    @staticmethod
    def asks() -> bool:
        """Whether a person is there to answer, and sees the question."""
        return sys.stdin.isatty() and (sys.stderr.isatty() or sys.stdout.isatty())


def write_json(text: str) -> None:
    """Write JSON as a line of UTF-8, whatever the locale: JSON is UTF-8 (RFC 8259, 8.1)."""
    sys.stdout.flush()
    sys.stdout.buffer.write(safe_json(text).encode() + b"\n")
    sys.stdout.buffer.flush()


def with_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `Session` as first argument, and the options that go with it."""

    @connection_options
    @click.pass_context
    @functools.wraps(function)
    def command(context: click.Context, /, *args: Any, **kwargs: Any) -> Any:
        session = Session(context)
        try:
            return function(session, *args, **kwargs)
        except CommandError as error:
            if session.json and error.problem is not None:
                write_json(error.problem)
            raise
        finally:
            session.close()

    return command
