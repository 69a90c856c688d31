"""The mapping to Fingerprint's document as people read it.

    python -m prynt_relay.transport.formats.fingerprint_mapping

prints the table of docs/migrating-from-fingerprint.md.
"""

import sys

from prynt_relay.transport.formats.fingerprint_fields import FIELDS, LISTS, PASSED_THROUGH


def mapping_table() -> str:
    """The mapping as a Markdown table, from the fields that bodies are rendered with."""
    lines = [
        "| Fingerprint's field | type | null | limit | from, in this order |",
        "| --- | --- | --- | --- | --- |",
    ]
    lists = dict(LISTS)
    for field in FIELDS:
        path = field.path.partition("[]")[0]
        if path in lists:
            labels = "; ".join(source.label for source in lists.pop(path))
            lines.append(f"| `{path}` | list | yes | | {labels} |")
        where = " of the element" if "[]" in field.path else ""
        sources = "; ".join(source.label + where for source in field.sources)
        limit = "" if field.max_length is None else f"{field.max_length:,}"
        limit += ", never cut" if field.never_cut else ""
        null = "yes" if field.nullable else "no"
        lines.append(f"| `{field.path}` | {field.kind.value} | {null} | {limit} | {sources} |")
    names = ", ".join(f"`{name}`" for name in PASSED_THROUGH)
    lines.append(f"| {names} | any JSON | absent unless carried | | the same name |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(mapping_table())
