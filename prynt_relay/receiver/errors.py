"""Why a delivery isn't to be trusted, or can't be read."""


class WebhookError(Exception):
    """The delivery is to be refused; the message says why, without secrets and payload.

    `status` is the HTTP status to answer: 401 where the sender isn't proven, 400 where it is and
    what it sent is broken.
    """

    status = 401


class MissingHeaderError(WebhookError):
    """A signature header is missing: something else than the relay called, or a proxy ate it."""

    def __init__(self, header: str) -> None:
        super().__init__(f"the header {header} is missing")
        self.header = header


class MalformedHeaderError(WebhookError):
    """A signature header isn't of the form that the relay writes."""

    def __init__(self, header: str, expected: str) -> None:
        super().__init__(f"the header {header} isn't {expected}")
        self.header = header


class TimestampError(WebhookError):
    """The delivery was signed too long ago, or in the future: a replay, or clocks that differ."""

    def __init__(self, age_s: float, tolerance_s: float) -> None:
        when = f"{age_s:.0f} s ago" if age_s >= 0 else f"{-age_s:.0f} s in the future"
        super().__init__(
            f"it was signed {when}, more than {tolerance_s:.0f} s off; "
            "if it is no replay, set this machine's clock"
        )
        self.age_s = age_s


class SignatureMismatchError(WebhookError):
    """None of the secrets gives this signature: a forgery, the wrong secret, a changed body."""

    def __init__(self) -> None:
        super().__init__(
            "the signature doesn't match; check the secret, and that the body is verified as it "
            "came, before anything parses it"
        )


class MalformedEventError(WebhookError):
    """The signature is right, but the body isn't an event."""

    status = 400
