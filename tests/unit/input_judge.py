"""What must hold for any URL, header and configuration, whatever is made of it."""

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path

from prynt_relay.config.keys import KEYS
from prynt_relay.config.loader import load
from prynt_relay.config.rendering import render, value_of
from prynt_relay.errors import ConfigError, InvalidFieldError
from prynt_relay.model.states import Format
from prynt_relay.model.webhook import Webhook
from prynt_relay.transport.endpoint import Endpoint
from prynt_relay.webhooks.endpoint import EndpointRules, check_headers
from tests.integration.attempts import EVENT, webhook

PUBLIC = EndpointRules(allow_http=False, allow_addresses=[])
URL = "https://receiver.example/hook"


def head_of(one: Webhook) -> list[str]:
    """The lines of the request's head, as a receiver would read them."""
    head = Endpoint(one).head(Format.PRYNT, EVENT, [], 2)
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].decode("latin-1").split("\r\n")
    assert not any(char in line for line in lines for char in "\r\n\0")
    return lines


def check_url(url: str) -> bool:
    """Judge what is made of a URL; returns whether a webhook may have it."""
    try:
        assert PUBLIC.check_url(url) == url
    except InvalidFieldError as error:
        refused = error
        assert refused.field == "url"
        assert str(refused).isprintable()
        return False
    one = webhook(url)
    endpoint = Endpoint(one)
    request, host, *_ = head_of(one)
    method, target, version = request.split(" ")
    assert (method, version) == ("POST", "HTTP/1.1")
    assert target.startswith("/")
    assert target.isascii()
    # What is connected to is no address in any spelling, and not this machine.
    connected = endpoint.connect_request.url
    assert connected.scheme == "https"
    assert connected.user is connected.password is None
    name = connected.raw_host or ""
    shown = name.removesuffix(".")  # as browsers and curl send it
    assert host == f"Host: {shown}" or host.startswith(f"Host: {shown}:")
    assert 1 <= (connected.port or 0) <= 65_535
    assert "." in name.rstrip(".")
    assert name.rstrip(".").rpartition(".")[2].lower() != "localhost"
    assert not is_address(name)
    return True


def is_address(host: str) -> bool:
    """Whether anybody would take it for an IP address: inet_aton(3) takes the most."""
    for read in (ipaddress.ip_address, socket.inet_aton):
        try:
            read(host.rstrip("."))
        except (ValueError, OSError):
            continue
        return True
    return False


def check_header(name: str, value: str) -> bool:
    """Judge what is made of a custom header; returns whether a webhook may have it."""
    try:
        kept = check_headers([(name, value)])
    except InvalidFieldError as error:
        refused = error
        assert refused.field.startswith("headers.")
        return False
    bare = head_of(webhook(URL))
    lines = head_of(webhook(URL, headers=kept))
    added = [line for line in lines if line not in bare]
    # One line more, and nothing that was there is another or gone.
    assert added == [f"{name}: {value}"]
    assert [line for line in lines if line not in added] == bare
    return True


def check_config(file: Path, environ: Mapping[str, str]) -> bool:
    """Judge what is made of a configuration; returns whether it is one."""
    try:
        loaded = load(file, environ, need_secrets=False)
    except ConfigError as error:
        refused = error
        assert refused.problems
        for problem in refused.problems:
            assert problem.isprintable(), problem
            assert len(problem) < 2000
        return False
    # What is printed of it is, but for the secrets, the same configuration again.
    secret = tuple(f"{key.name} = " for key in KEYS if key.secret)
    lines = [line for line in render(loaded).split("\n") if not line.startswith(secret)]
    printed = file.with_name("printed.toml")
    printed.write_text("\n".join(lines))
    again = load(printed, {}, need_secrets=False)
    for key in KEYS:
        if not key.secret:
            assert value_of(again.config, key) == value_of(loaded.config, key), key.path
    return True
