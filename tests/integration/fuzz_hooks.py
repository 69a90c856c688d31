"""What a fuzzer must know of the API beyond its document; loaded by schemathesis itself.

Words of a language of their own (filters, cursors) can't be made from a schema, and each request
needs an Idempotency-Key that no other had.
"""

import string
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st

HEADER = "Idempotency-Key"

schemathesis.openapi.format(
    "jmespath",
    st.sampled_from(
        ["data.scores.suspect > `50`", "eventType == 'verdict.block'", "data.geo.country", "`true`"]
    ),
)
schemathesis.openapi.format("cursor", st.just(""))
schemathesis.openapi.format(
    "printable", st.text(string.ascii_letters + string.digits + " éß漢", min_size=1, max_size=255)
)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if case.headers and HEADER in case.headers:
        case.headers[HEADER] = str(uuid.uuid4())
    for event in case.body if isinstance(case.body, list) else [case.body]:
        # A key that came before makes the event a duplicate of another one.
        if isinstance(event, dict) and "idempotencyKey" in event:
            event["idempotencyKey"] = str(uuid.uuid4())
