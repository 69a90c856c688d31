"""An e-mail address with the name before it, as the configuration writes it down. Pure."""

import re
from typing import Final, NamedTuple

_ADDRESS: Final = (
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f.:IPv]+\])"
)
_MAILBOX: Final = re.compile(
    rf"(?P<bare>{_ADDRESS})|(?P<name>[^<>@,;\x00-\x1f\x7f]*)<(?P<address>{_ADDRESS})>"
)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Mailbox(NamedTuple):
    """Whom a mail is from or to; the name may be empty."""

    name: str
    address: str


def parse_mailbox(text: str) -> Mailbox:
    """Read `address` or `Name <address>`; raises ValueError where `text` is neither.

    A name stands for itself, whatever characters it has; only quotes around all of it go.
    """
    match = _MAILBOX.fullmatch(text)
    if match is None:
        raise ValueError("not an e-mail address")
    if match["bare"]:
        return Mailbox("", match["bare"])
    name = match["name"].strip()
    if quoted := _QUOTED.fullmatch(name):
        name = re.sub(r"\\(.)", r"\1", quoted[1])
    return Mailbox(name, match["address"])
