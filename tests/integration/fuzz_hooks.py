"""What a fuzzer must know of the API beyond its document; loaded by schemathesis itself.

Words of a language of their own (filters, cursors, host names beyond ASCII) can't be made from a
schema, and each request needs an Idempotency-Key that no other had.
"""

import re
import string
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st

from prynt_relay.model.event import EVENT_TYPES

HEADER = "Idempotency-Key"
HOST = re.compile(r"(?<=//)[^:/?]*[^\x00-\x7f:/?][^:/?]*")

schemathesis.openapi.format(
    "jmespath",
    st.sampled_from(
        ["data.scores.suspect > `50`", "eventType == 'verdict.block'", "data.geo.country", "`true`"]
    ),
)
schemathesis.openapi.format("cursor", st.just(""))
schemathesis.openapi.format("event-type", st.sampled_from(EVENT_TYPES))
schemathesis.openapi.format(
    "moment",
    st.one_of(
        st.from_regex(r"[0-9]{1,9}(ms|s|m|h|d)", fullmatch=True),
        st.datetimes().map(lambda moment: moment.isoformat()),
        st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
        st.dates().map(lambda day: day.isoformat()),
        st.sampled_from(["2026-W07-6", "20260214T114522Z", "2026-02-14t11:45z"]),
    ),
)
schemathesis.openapi.format(
    "printable", st.text(string.ascii_letters + string.digits + " éß漢", min_size=1, max_size=255)
)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if case.headers and HEADER in case.headers:
        case.headers[HEADER] = str(uuid.uuid4())
    if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
        # Which letters IDNA encodes the document leaves to IDNA.
        case.body["url"] = HOST.sub("bücher.example", case.body["url"], count=1)
    for event in case.body if isinstance(case.body, list) else [case.body]:
        # A key that came before makes the event a duplicate of another one.
        if isinstance(event, dict) and "idempotencyKey" in event:
            event["idempotencyKey"] = str(uuid.uuid4())
