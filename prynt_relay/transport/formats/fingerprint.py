"""The `fingerprint` format: Fingerprint's flat identification object (contract, section 9).

Built from `identification.complete` after the table in `fingerprint_fields`: what is unknown is
null where Fingerprint allows null, else empty; text over its limit is cut.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from prynt_relay.model.event import StoredEvent
from prynt_relay.model.payload import members, parse
from prynt_relay.transport.formats.fingerprint_fields import (
    FIELDS,
    LISTS,
    NULLABLE_OBJECTS,
    PASSED_THROUGH,
    Field,
)
from prynt_relay.transport.formats.fingerprint_values import EMPTY, Kind, fit

CONTENT_TYPE: Final = "application/json"


def accepts(event_type: str) -> bool:
    """Whether it is an identification: the document has no words for anything else."""
    return event_type == "identification.complete"


def _value(field: Field, event: StoredEvent, data: Any) -> Any:
    max_length = None if field.never_cut else field.max_length
    for source in field.sources:
        found = source.find(event, data)
        if found is not None:
            value = fit(found, field.kind, max_length)
            if value is not None:
                return value
    return None if field.nullable else EMPTY.get(field.kind)


class _Object:
    """An object of the document, or the elements of a list: its members, in order."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.members: dict[str, _Object | _List | Field] = {}

    def add(self, field: Field, names: Sequence[str]) -> None:
        """Place a field below this object."""
        name, *others = names
        if not others:
            self.members[name] = field
            return
        path = f"{self.path}.{name}".lstrip(".")
        if name.endswith("[]"):
            made = self.members.setdefault(name[:-2], _List(path.removesuffix("[]")))
        else:
            made = self.members.setdefault(name, _Object(path))
        if not isinstance(made, Field):
            made.add(field, others)

    def value(self, event: StoredEvent, data: Any) -> dict[str, Any] | None:
        """Its members' values; None for an object that is null where nothing is known of it."""
        found = {
            name: _value(member, event, data)
            if isinstance(member, Field)
            else member.value(event, data)
            for name, member in self.members.items()
        }
        if self.path in NULLABLE_OBJECTS and all(value is None for value in found.values()):
            return None
        return found


class _List:
    """A list of the document."""

    def __init__(self, path: str) -> None:
        self.sources = LISTS[path]
        self.element = _Object(path)

    def add(self, field: Field, names: Sequence[str]) -> None:
        """Place a field in every element."""
        self.element.add(field, names)

    def value(self, event: StoredEvent, data: Any) -> list[Any] | None:
        """The elements that hold anything of what the document asks for; None without any."""
        for source in self.sources:
            found = source.find(event, data)
            if found == []:
                return []
            elements = [
                self.element.value(event, element)
                for element in (found if isinstance(found, list) else ())
                if isinstance(element, dict)
            ]
            if known := [element for element in elements if element is not None]:
                return known
        return None


def _document() -> _Object:
    document = _Object()
    for field in FIELDS:
        document.add(field, field.path.split("."))
    return document


_DOCUMENT: Final = _document()
_VERBATIM: Final = tuple(field.path for field in FIELDS if field.kind is Kind.JSON)


def render(event: StoredEvent, webhook_id: str) -> bytes:
    """The identification object; the same for every webhook and on every attempt."""
    del webhook_id
    carried = members(event.data)
    document = _DOCUMENT.value(event, parse(event.data)) or {}
    for name in _VERBATIM:
        # What passes through whole keeps its own text: numbers aren't rewritten.
        if isinstance(document[name], dict | list | int | float):
            document[name] = carried[name]
    for name in PASSED_THROUGH:
        if name in carried:
            document[name] = carried[name]
    return msgspec.json.encode(document)
