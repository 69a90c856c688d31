"""A disk that loses its power: from a record of writes and syncs to what may be left of them."""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("<BBQI")
SECTOR = 512
"""What a disk writes whole; a larger write may be torn between sectors."""


class Record(NamedTuple):
    """One call of the recorded process."""

    position: int
    """Bytes of the record before it."""
    kind: str
    file: int
    offset: int
    data: bytes


def read_records(path: Path) -> Iterator[Record]:
    """What tests/system/power/record.c wrote."""
    content = path.read_bytes()
    position = 0
    while position + HEAD.size <= len(content):
        kind, file, offset, length = HEAD.unpack_from(content, position)
        start = position + HEAD.size
        if start + length > len(content):
            return
        yield Record(position, chr(kind), file, offset, content[start : start + length])
        position = start + length


@dataclass
class File:
    """What of a file is safe, and what was written since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)
    exists: bool = False


class Disk:
    """The recorded folder as a disk has it: only what was synced is sure."""

    def __init__(self, folder: Path) -> None:
        """Begin with the folder's files, all of them safe."""
        self.folder = folder
        self.files: dict[str, File] = {
            file.name: File(bytearray(file.read_bytes()), exists=True)
            for file in folder.iterdir()
            if file.is_file() and not file.name.endswith("-shm")
        }
        self._names: dict[int, str] = {}

    def apply(self, record: Record) -> None:
        """Take in one call."""
        if record.kind == "n":
            self._names[record.file] = Path(record.data.decode()).name
            return
        file = self.files.setdefault(self._names[record.file], File())
        if record.kind == "s":
            for one in file.pending:
                _write(file.durable, one)
            file.pending.clear()
            file.exists = True
        elif record.kind == "u":
            # A name that is gone for sure or not at all: either way what follows must hold.
            self.files[self._names[record.file]] = File()
        else:
            file.pending.append(record)

    def after_a_cut(self, target: Path, rng: random.Random) -> None:
        """Write to `target` what could be left: the safe part and any part of the rest."""
        target.mkdir()
        for name, file in self.files.items():
            if not file.exists and not file.pending:
                continue
            content = bytearray(file.durable)
            mode = rng.random()
            for record in file.pending:
                # Nothing of the rest, all of it, or any of it; and any write may be torn.
                if mode < 0.2 or (mode < 0.8 and rng.random() < 0.5):
                    continue
                _write(content, _torn(record, rng) if rng.random() < 0.1 else record)
            (target / name).write_bytes(content)


def _torn(record: Record, rng: random.Random) -> Record:
    if record.kind != "w" or len(record.data) <= SECTOR:
        return record
    sectors = rng.randrange(1, -(-len(record.data) // SECTOR))
    return record._replace(data=record.data[: sectors * SECTOR])


def _write(content: bytearray, record: Record) -> None:
    if record.kind == "t":
        if record.offset < len(content):
            del content[record.offset :]
        else:
            content.extend(bytes(record.offset - len(content)))
        return
    end = record.offset + len(record.data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    content[record.offset : end] = record.data
