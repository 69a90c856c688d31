"""The one family of errors that prynt-relay raises on purpose."""


class RelayError(Exception):
    """Something that prynt-relay understands went wrong; the message says what and what to do."""


class ConfigError(RelayError):
    """The configuration can't be used. `problems` holds `SOURCE: section.key: why` per mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StorageError(RelayError):
    """The database can't be used as it is (foreign, damaged, newer, not ours to open)."""


class StorageUnavailableError(StorageError):
    """A write did not reach the disk for now (full, read-only); nothing of it was kept."""


class StateFolderLockedError(StorageError):
    """Another daemon holds the state folder; the program leaves with exit code 3."""


class SocketUnusableError(RelayError):
    """The intake socket can't be listened on where the configuration or systemd says."""


class ShuttingDownError(RelayError):
    """The daemon is draining and takes nothing new."""


class RefusedEventError(RelayError):
    """An event that intake refuses; `code` is one of the contract's, section 3."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidFieldError(RelayError):
    """A value from outside that breaks a rule; `field` is the name that the caller used."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.reason = message


class FieldConflictError(InvalidFieldError):
    """Two values, each fine in itself, that don't go together; `other` names the second field."""

    def __init__(self, field: str, other: str, message: str) -> None:
        super().__init__(field, message)
        self.other = other


class NotFoundError(RelayError):
    """No such webhook, delivery or event."""


class ConflictError(RelayError):
    """The request is fine, but not in the state that the object is in."""
