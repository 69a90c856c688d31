"""The HTTP API from the other side, with the standard library alone: it has to start fast."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import click

from prynt_relay.cli.prynt.credentials import ApiKey
from prynt_relay.cli.prynt.failures import CommandError
from prynt_relay.cli.prynt.json_text import parse_json
from prynt_relay.escape import safe_line
from prynt_relay.version import __version__

Params = Mapping[str, str | int | None]

TIMEOUT_S: Final = 70.0  # a test delivery may take the webhook's own timeout, at most 30 s
_MAX_ANSWER: Final = 256 * 1024 * 1024  # more than any answer is; a wrong server must not fill us
_MAX_PAGE: Final = 250


class Answer(NamedTuple):
    """What the API answered: the text as it came, and what it says."""

    status: int
    text: str
    value: Any


def check_api_url(text: str) -> SplitResult:
    """Return the parts of an API address; click.UsageError where it can't be one."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise click.UsageError(
            f"{safe_line(text)!r} is no API address; give one like http://127.0.0.1:8420 "
            "with --api-url or $PRYNT_API_URL"
        )
    return parts


def path_of(*segments: str) -> str:
    """Return the API path of these segments, each escaped."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


class ApiClient:
    """Requests to one daemon over one kept connection; not for several threads.

    Where the key is refused, `find_key` is asked whether it is another one by now.
    """

    def __init__(
        self,
        api_url: str,
        key: ApiKey,
        *,
        timeout_s: float = TIMEOUT_S,
        find_key: Callable[[], ApiKey] | None = None,
    ) -> None:
        parts = check_api_url(api_url)
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._prefix = parts.path.rstrip("/")
        self._key = key
        self._find_key = find_key
        host = parts.hostname or ""
        self._connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=timeout_s)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
        )

    def check_reachable(self) -> None:
        """Raise CommandError where nothing accepts connections at the API's address."""
        try:
            self._connection.connect()
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; a later request opens a new one."""
        self._connection.close()

    def get(self, path: str, params: Params | None = None) -> Answer:
        """GET; raises CommandError where the answer isn't 2xx."""
        return self._ask("GET", path, params)

    def send(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Answer:
        """Send `body` (or `raw` JSON as it is); raises CommandError where the answer isn't 2xx."""
        content = raw if raw is not None or body is None else json.dumps(body).encode()
        return self._ask(method, path, None, content)

    def rows(self, path: str, params: Params, limit: int, cursor: str | None = None) -> Answer:
        """Follow the cursors of a list until `limit` rows; one page's text stays as it came.

        A page may be short, even empty, and have a cursor: the search goes on there.
        """
        rows: list[Any] = []
        while True:
            page_size = min(limit - len(rows), _MAX_PAGE)
            answer = self.get(path, {**params, "limit": page_size, "cursor": cursor})
            page = answer.value
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise self._not_ours(answer.status, "a list without data")
            cursor = page.get("nextCursor")
            if not rows and (cursor is None or len(page["data"]) >= limit):
                return answer
            rows += page["data"]
            if cursor is None or len(rows) >= limit:
                merged = {"data": rows[:limit], "nextCursor": cursor}
                return Answer(answer.status, json.dumps(merged, ensure_ascii=False), merged)

    def stream(self, path: str, last_event_id: str | None) -> http.client.HTTPResponse:
        """Open a stream of Server-Sent Events.

        Raises ConnectionError where the daemon can't be reached for now or says so (5xx), and
        CommandError where asking again would not help.
        """
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        try:
            response = self._request("GET", path, None, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(self._unreachable(error).message) from error
        if response.status == 200:
            return response
        text = response.read(_MAX_ANSWER).decode("utf-8", "replace")
        self.close()
        if response.status >= 500:
            raise ConnectionError(f"the API answered {response.status}")
        raise self._refusal(response.status, text, path)

    def _ask(
        self, method: str, path: str, params: Params | None, content: bytes | None = None
    ) -> Answer:
        given = {k: v for k, v in (params or {}).items() if v is not None}
        target = path + ("?" + urlencode(given) if given else "")
        try:
            response = self._request(method, target, content, {"Accept": "application/json"})
            text = response.read(_MAX_ANSWER).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._not_ours(response.status, "bytes that aren't UTF-8") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        if not 200 <= response.status < 300:
            raise self._refusal(response.status, text, path)
        if not text.strip():
            return Answer(response.status, "null", None)  # 204: JSON for nothing
        try:
            return Answer(response.status, text.strip(), parse_json(text))
        except ValueError as error:
            raise self._not_ours(response.status, "something that isn't JSON") from error

    def _request(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        headers["User-Agent"] = f"prynt/{__version__}"
        if content is not None:
            headers["Content-Type"] = "application/json"
        response = self._send(method, target, content, headers)
        if response.status == 401 and self._has_another_key():
            response.read(_MAX_ANSWER)
            response = self._send(method, target, content, headers)
        return response

    def _send(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        headers["Authorization"] = f"Bearer {self._key.value}"
        self._connection.request(method, self._prefix + target, content, headers)
        return self._connection.getresponse()

    def _has_another_key(self) -> bool:
        """Look the key up again: it may have been changed while this command runs."""
        if self._find_key is None:
            return False
        with contextlib.suppress(CommandError):  # then the API's refusal is what is told
            key = self._find_key()
            if key.value != self._key.value:
                self._key = key
                return True
        return False

    def _unreachable(self, error: Exception) -> CommandError:
        where = safe_line(self.address)
        if isinstance(error, ConnectionRefusedError):
            return CommandError(
                f"no daemon answers at {where} (connection refused); start one with "
                "`prynt-relay serve`, or give its address with --api-url or $PRYNT_API_URL"
            )
        if isinstance(error, TimeoutError):
            why = f"no answer within {self._connection.timeout:.0f} s"
        elif isinstance(error, socket.gaierror):
            why = "its name can't be resolved"
        elif isinstance(error, ssl.SSLError):
            why = f"TLS failed: {error.reason or error}"
        else:
            why = str(error) or type(error).__name__
        return CommandError(
            f"can't reach the API at {where}: {safe_line(why)}; check --api-url or $PRYNT_API_URL"
        )

    def _not_ours(self, status: int, what: str) -> CommandError:
        return CommandError(
            f"{safe_line(self.address)} doesn't speak the prynt-relay API: it answered {status} "
            f"with {what}; check --api-url or $PRYNT_API_URL"
        )

    def _refusal(self, status: int, text: str, path: str) -> CommandError:
        try:
            problem = parse_json(text)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or not ("code" in problem or "title" in problem):
            return self._not_ours(status, "something that isn't its error format")
        if status == 401:
            message = (
                f"the API at {self.address} refused the key from {self._key.source}; the daemon's "
                "own is in its state folder's api-key: give it with --api-key or $PRYNT_API_KEY"
            )
        else:
            told = _told(problem)
            advice = _advice(status, path, told)
            # A 404 of the API's own advises in terms of the API: here the command says it.
            message = told.partition(";")[0] + advice if status == 404 and advice else told + advice
        return CommandError(safe_line(message), problem=text.strip(), status=status)


def _told(problem: dict[str, Any]) -> str:
    """Say a problem document (RFC 9457) in one line, with the fields that it names."""
    told = str(problem.get("detail") or problem.get("title") or problem.get("code")).rstrip(".")
    index = problem.get("index")
    if isinstance(index, int):
        # People count from one; the API's own text begins with its index.
        told = f"{told.removeprefix(f'[{index}]: ')} (event {index + 1} of the batch)"
    faults = problem.get("errors")
    for fault in faults if isinstance(faults, list) else []:
        if isinstance(fault, dict):
            name = str(fault.get("field") or fault.get("pointer") or "")
            why = str(fault.get("message") or fault.get("detail") or "").rstrip(".")
            if why and why not in told:
                told += f"; {name}: {why}" if name else f"; {why}"
    return told


_ADVICE: Final = {
    "webhooks": "`prynt webhooks list` shows the webhooks",
    "deliveries": "`prynt webhooks deliveries` shows the deliveries",
    "events": "`prynt events list` shows the events",
}


def _advice(status: int, path: str, told: str) -> str:
    if status == 404:
        advice = _ADVICE.get(path.split("/")[2])
        return f"; {advice}" if advice else ""
    if status == 503 and "again" not in told:
        return "; try again shortly"
    return ""


def iterate_rows(client: ApiClient, path: str, params: Params, most: int) -> Iterator[Any]:
    """Yield up to `most` rows of a list, newest first, page by page."""
    cursor, left = None, most
    while left > 0:
        page = client.get(path, {**params, "limit": min(left, _MAX_PAGE), "cursor": cursor}).value
        yield from page["data"]
        cursor, left = page["nextCursor"], left - len(page["data"])
        if cursor is None:
            return
