"""The dashboard behind nginx, configured as docs/dashboard.md says."""

import http.client
import re
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs_blocks import docs_text
from tests.programs import program
from tests.system.cli_daemon import Daemon, free_port, running_daemon

_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


@contextmanager
def proxied(daemon: Daemon, folder: Path) -> Iterator[int]:
    """Run nginx before the daemon; gives its port."""
    folder.mkdir()
    port = free_port()
    location = docs_text("dashboard-proxy").replace("http://127.0.0.1:8420", daemon.url)
    assert daemon.url in location
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, location=location))
    nginx = subprocess.Popen([program("nginx", "nginx"), "-c", config, "-p", folder])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)):
                    break
            except OSError:
                assert nginx.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)  # a stranger that doesn't say when it listens
        yield port
    finally:
        nginx.terminate()
        nginx.wait(10)


def test_the_dashboard_works_behind_a_proxy(tmp_path: Path) -> None:
    """Signing in, changing something and following the stream, through nginx as documented."""
    with running_daemon(tmp_path) as daemon, proxied(daemon, tmp_path / "nginx") as port:
        key = (tmp_path / ".local/state/prynt-relay/api-key").read_text().strip()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        cookies: dict[str, str] = {}

        def ask(
            path: str, form: dict[str, str] | None = None, **headers: str
        ) -> http.client.HTTPResponse:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
            body = None
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
                headers.setdefault("Origin", f"http://127.0.0.1:{port}")
                body = urllib.parse.urlencode(form)
            connection.request("GET" if form is None else "POST", path, body, headers)
            answer = connection.getresponse()
            for each in answer.headers.get_all("Set-Cookie", []):
                name, _, value = each.partition(";")[0].partition("=")
                cookies[name] = value
            return answer

        def token(path: str) -> str:
            found = re.search(r'name="csrf" value="([^"]+)"', ask(path).read().decode())
            assert found is not None
            return found[1]

        signed_in = ask("/sign-in", {"csrf": token("/sign-in"), "key": key, "next": "/live"})
        signed_in.read()
        assert (signed_in.status, signed_in.headers["Location"]) == (303, "/live")
        csrf = token("/webhooks/new")
        form = {"csrf": csrf, "url": "http://127.0.0.1:9/none", "which": "all"}
        form |= {"format": "prynt", "signatures": "prynt"}
        forged = ask("/webhooks/new", form, Origin="http://evil.test")
        assert forged.status == 403
        forged.read()
        made = ask("/webhooks/new", form)
        assert made.status == 303, made.read()
        made.read()
        stream = ask("/v1/stream")
        assert stream.readline() == b"retry: 2000\n"
        daemon.prynt("webhooks", "test", made.headers["Location"].split("/")[2], code=1)
        lines = [stream.readline() for _ in range(4)]
        assert b"event: attempt\n" in lines, lines
        stream.close()
        connection.close()
