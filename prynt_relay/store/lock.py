"""One daemon per state folder."""

import fcntl
import os
from pathlib import Path

from prynt_relay.errors import StateFolderLockedError, StorageError


class StateFolder:
    """The state folder, held by this process until `release` or its end."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it isn't there (mode 0700) and lock it.

        Raises StateFolderLockedError while another daemon holds it, StorageError where it can't
        be used.
        """
        self.path = path
        self._descriptor: int | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"{path}: can't be used as state_dir: {error.filename}: {error.strerror}; it must "
                "belong to the user that prynt-relay runs as, on a disk that can be written"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StateFolderLockedError(
                f"{path}: another prynt-relay (process {holder or 'unknown'}) holds this folder; "
                "stop it, or choose another state_dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another daemon have it. The file stays: removing it would race with the next."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
