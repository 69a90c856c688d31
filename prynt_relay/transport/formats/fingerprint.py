"""The `fingerprint` format: Fingerprint's flat identification object (contract, section 9).

Built from `identification.complete` after the table in `fingerprint_fields`: what is unknown is
null where Fingerprint allows null, else empty; text over its limit is cut.
"""

import functools
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
    for source in field.sources:
        found = source.find(event, data)
        if found is None:
            continue
        value = fit(found, field.kind, None if field.never_cut else field.max_length)
        if value is not None:
            return value
    return None if field.nullable else EMPTY.get(field.kind)


def _elements(path: str, event: StoredEvent, data: Any) -> list[dict[str, Any]] | None:
    """The list at `path`; elements that hold nothing of what the document asks for are left out."""
    found = LISTS[path].find(event, data)
    if found is None:
        return None
    fields = [field for field in FIELDS if field.path.startswith(path + "[].")]
    elements = [
        {field.path.rpartition(".")[2]: _value(field, event, element) for field in fields}
        for element in found
        if isinstance(element, dict)
    ]
    return [element for element in elements if any(v is not None for v in element.values())] or None


def _document(event: StoredEvent, data: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in FIELDS:
        *parents, name = field.path.split(".")
        target = document
        for parent in parents:
            if parent.endswith("[]"):
                path = field.path.rpartition("[]")[0]
                list_name = parent.removesuffix("[]")
                if list_name not in target:
                    target[list_name] = _elements(path, event, data)
                break
            target = target.setdefault(parent, {})
        else:
            target[name] = _value(field, event, data)
    for path in NULLABLE_OBJECTS:
        *parents, name = path.split(".")
        holder = functools.reduce(dict.__getitem__, parents, document)
        if isinstance(holder[name], dict) and all(v is None for v in holder[name].values()):
            holder[name] = None
    return document


def render(event: StoredEvent, webhook_id: str) -> bytes:
    """The identification object; the same for every webhook and on every attempt."""
    del webhook_id
    carried = members(event.data)
    document = _document(event, parse(event.data))
    for field in FIELDS:
        # What passes through whole keeps its own text: numbers aren't rewritten.
        if field.kind is Kind.JSON and isinstance(document[field.path], dict | list | int | float):
            document[field.path] = carried[field.path]
    for name in PASSED_THROUGH:
        if name in carried:
            document[name] = carried[name]
    return msgspec.json.encode(document)
