"""Run inside the container: a publisher that never gives up. Standard library only.

    publisher.py SOCKET STOP_FLAG RESULT PAUSE_S

Publishes one event after the other, PAUSE_S apart, until the file STOP_FLAG exists. An event whose
connection breaks before its answer is sent again, with the same key, over a new one. Writes to
RESULT, as JSON: the ids of the acknowledged events, each with the Unix time of its answer, the
connects that failed, and the refusals.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any


class Publisher:
    """One connection at a time, one event at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection: socket.socket | None = None
        self.buffer = b""
        self.result: dict[str, Any] = {
            "acknowledged": [],
            "connects": 0,
            "failed_connects": [],
            "resent": 0,
            "refused": [],
        }

    def connect(self) -> socket.socket:
        while self.connection is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            fresh.settimeout(60)
            try:
                fresh.connect(self.path)
            except OSError as error:
                self.result["failed_connects"].append(repr(error))
                fresh.close()
                time.sleep(0.05)
            else:
                self.result["connects"] += 1
                self.connection, self.buffer = fresh, b""
        return self.connection

    def answer(self, line: bytes) -> dict[str, Any] | None:
        """Send a line and return what is answered; None where the connection broke first."""
        try:
            connection = self.connect()
            connection.sendall(line)
            while b"\n" not in self.buffer:
                received = connection.recv(65_536)
                if not received:
                    raise ConnectionResetError("closed before the answer")
                self.buffer += received
        except TimeoutError:
            raise
        except OSError:
            if self.connection is not None:
                self.connection.close()
                self.connection = None
            return None
        answer, _, self.buffer = self.buffer.partition(b"\n")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def publish(self, number: int) -> None:
        event = {
            "eventType": "visitor.new",
            "idempotencyKey": f"publisher-{number}",
            "data": {"number": number},
        }
        line = json.dumps(event).encode() + b"\n"
        while True:
            answer = self.answer(line)
            if answer is None:
                self.result["resent"] += 1
            elif answer["ok"]:
                self.result["acknowledged"].append((answer["eventId"], time.time()))
                return
            else:
                self.result["refused"].append(answer["error"]["code"])
                if answer["error"]["code"] != "shutting_down":
                    return
                time.sleep(0.05)


def main() -> None:
    path, stop_flag, result, pause_s = sys.argv[1:]
    publisher = Publisher(path)
    number = 0
    while not Path(stop_flag).exists():
        publisher.publish(number)
        number += 1
        time.sleep(float(pause_s))
    Path(result).write_text(json.dumps(publisher.result))


if __name__ == "__main__":
    main()
