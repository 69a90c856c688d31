"""The state machine of a delivery, the outcomes of an attempt, what starts one.

Each enumeration's number is what the database stores: never renumber, only append.
"""

import enum
from typing import Final


class DeliveryState(enum.IntEnum):
    """Where a delivery stands (contract, section 4)."""

    SCHEDULED = 0
    DELIVERED = 1
    FAILED = 2
    HELD = 3
    CANCELLED = 4

    @property
    def label(self) -> str:
        """The name that the API, the logs and the metrics use."""
        return self.name.lower()


TRANSITIONS: Final = frozenset(
    {
        (DeliveryState.SCHEDULED, DeliveryState.SCHEDULED),  # a failure with a retry left
        (DeliveryState.SCHEDULED, DeliveryState.DELIVERED),  # a 2xx in time
        (DeliveryState.SCHEDULED, DeliveryState.FAILED),  # the last failure of the schedule
        (DeliveryState.SCHEDULED, DeliveryState.HELD),  # its webhook was disabled
        (DeliveryState.SCHEDULED, DeliveryState.CANCELLED),  # its webhook was deleted
        (DeliveryState.HELD, DeliveryState.SCHEDULED),  # a manual retry
        (DeliveryState.HELD, DeliveryState.CANCELLED),  # its webhook was deleted
        (DeliveryState.HELD, DeliveryState.DELIVERED),  # was in flight when it was held
        (DeliveryState.CANCELLED, DeliveryState.DELIVERED),  # was in flight when it was cancelled
        (DeliveryState.FAILED, DeliveryState.SCHEDULED),  # a manual retry
        (DeliveryState.DELIVERED, DeliveryState.SCHEDULED),  # a manual retry
    }
)
"""Every change that may happen; docs/architecture.md draws them, a test compares the two."""


class Outcome(enum.IntEnum):
    """How an attempt ended (contract, section 4)."""

    SUCCESS = 0
    HTTP_ERROR = 1
    TIMEOUT = 2
    DNS_ERROR = 3
    CONNECTION_REFUSED = 4
    CONNECTION_ERROR = 5
    TLS_ERROR = 6
    BLOCKED_ADDRESS = 7

    @property
    def label(self) -> str:
        """The name that the API, the logs and the metrics use."""
        return self.name.lower()


class Trigger(enum.IntEnum):
    """What an attempt was made for."""

    SCHEDULE = 0
    MANUAL = 1
    TEST = 2

    @property
    def label(self) -> str:
        """The name that the API uses."""
        return self.name.lower()


class Format(enum.IntEnum):
    """What a delivery's body is (contract, section 9); fixed when the event comes in."""

    PRYNT = 0
    FINGERPRINT = 1
    CLOUDEVENTS = 2
    SLACK = 3

    @property
    def label(self) -> str:
        """The name that the API uses."""
        return self.name.lower()


class SignatureScheme(enum.IntEnum):
    """Which signature headers a webhook's deliveries carry (contract, section 9)."""

    PRYNT = 0
    STANDARD = 1
    FINGERPRINT = 2

    @property
    def label(self) -> str:
        """The name that the API uses."""
        return self.name.lower()


class DisabledReason(enum.StrEnum):
    """Why a webhook is off."""

    MANUAL = "manual"
    FAILING = "failing"
