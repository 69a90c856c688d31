"""A real DNS server for tests, on a loopback port: answers, refuses or stays silent, per name."""

import asyncio
import ipaddress
import struct
from collections import Counter
from types import TracebackType
from typing import Self

SILENT = "silent"
NXDOMAIN = 3
SERVFAIL = 2
REFUSED = 5

Answer = list[str] | int | str


class NameServer(asyncio.DatagramProtocol):
    """`zone` maps names to addresses, to a response code, or to SILENT; others are NXDOMAIN."""

    def __init__(self, zone: dict[str, Answer], bind: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.zone = zone
        self._bind = bind
        self.queries: Counter[str] = Counter()
        self.address = ""
        """`ip:port`, as `DnsLookup` takes it."""

    async def __aenter__(self) -> Self:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=self._bind
        )
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        name, end = _question(data)
        kind = struct.unpack(">H", data[end : end + 2])[0]
        self.queries[name] += 1
        answer = self.zone.get(name, NXDOMAIN)
        if answer == SILENT:
            return
        code = answer if isinstance(answer, int) else 0
        records = [
            ip.packed
            for ip in map(ipaddress.ip_address, answer if isinstance(answer, list) else [])
            if (ip.version == 4 and kind == 1) or (ip.version == 6 and kind == 28)
        ]
        reply = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        reply += data[12 : end + 4]
        for packed in records:
            reply += struct.pack(">HHHIH", 0xC00C, kind, 1, 1, len(packed)) + packed
        self._transport.sendto(reply, addr)


def _question(data: bytes) -> tuple[str, int]:
    labels = []
    at = 12
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1
