"""`prynt` as tests run it: in this process, or as a process of its own on a terminal."""

import fcntl
import io
import os
import pty
import queue
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest

from prynt_relay.cli.prynt import main

PRYNT = [
    sys.executable,
    "-c",
    "import sys; from prynt_relay.cli.prynt import main; sys.exit(main())",
]


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Prynt:
    """Runs commands in this process, off a terminal; `prynt("webhooks", "list")`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    @classmethod
    def knowing(cls, url: str, key: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> Self:
        """One whose environment names this API and nothing else."""
        monkeypatch.setenv("HOME", str(home))
        for name in (
            "STATE_DIRECTORY", "XDG_STATE_HOME", "PRYNT_API_KEY_FILE", "PRYNT_WEBHOOK_SECRET",
            "COLUMNS",
        ):  # fmt: skip
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PRYNT_API_URL", url)
        monkeypatch.setenv("PRYNT_API_KEY", key)
        return cls(monkeypatch)

    def __call__(self, *args: str, stdin: bytes = b"") -> Result:
        out, err = io.BytesIO(), io.BytesIO()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
            code = main(args)
            sys.stdout.flush()
            sys.stderr.flush()
            return Result(code, out.getvalue().decode(), err.getvalue().decode())


class OnTerminal:
    """`prynt` as a process whose standard streams are a terminal of the given size."""

    def __init__(self, *args: str, env: Mapping[str, str], columns: int = 80) -> None:
        self._main, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*PRYNT, *args],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**plain, "TERM": "xterm-256color", **env},
            start_new_session=True,
        )
        os.close(inner)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._main)

    def read_until(self, enough: str | Callable[[str], bool], timeout_s: float = 20) -> str:
        """Return what was written so far once it holds `enough`."""
        holds = enough if callable(enough) else lambda text: enough in text
        deadline = time.monotonic() + timeout_s
        while not holds(self.text):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"still waiting after {timeout_s} s; so far:\n{self.text}"
            if select.select([self._main], [], [], left_s)[0]:
                try:
                    chunk = os.read(self._main, 65536)
                except OSError:  # the other end is closed
                    chunk = b""
                assert chunk, f"it ended without that; it wrote:\n{self.text}"
                self.text += chunk.decode(errors="replace").replace("\r\n", "\n")
        return self.text

    def write(self, text: str) -> None:
        """Type `text`."""
        os.write(self._main, text.encode())

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self, timeout_s: float = 20) -> Result:
        """Wait for the end; both streams are in `out`, as on a screen."""
        deadline = time.monotonic() + timeout_s
        while True:
            assert time.monotonic() < deadline, f"it goes on; so far:\n{self.text}"
            if not select.select([self._main], [], [], 0.2)[0]:
                continue
            try:
                chunk = os.read(self._main, 65536)
            except OSError:
                break
            if not chunk:
                break
            self.text += chunk.decode(errors="replace").replace("\r\n", "\n")
        return Result(self.process.wait(timeout_s), self.text, "")


class Running:
    """A `prynt` that goes on, off a terminal; its lines can be waited for."""

    def __init__(self, *args: str, program: Sequence[str] = PRYNT, **env: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PRYNT_")}
        self.process = subprocess.Popen(
            [*program, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**clean, **env},
            text=True,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.out = self._lines(self.process.stdout)
        self.err = self._lines(self.process.stderr)

    @staticmethod
    def _lines(pipe: Any) -> "queue.Queue[str]":
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in pipe:
                lines.put(line.rstrip("\n"))
            lines.put("(end)")

        threading.Thread(target=read, daemon=True).start()
        return lines

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
