"""Standard streams that are closed, full, or read by nobody any more."""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

WRITE_ERRORS: Final = frozenset(
    {errno.EIO, errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE}
)
"""What write(2) answers of a file that can't take more; no other call here meets them unnamed."""


def open_closed_streams() -> None:
    """Put /dev/null where the command was started without a stream (`>&-`).

    Python then has None in its place, and the first file or socket that is opened would get its
    number. The order matters: each open takes the lowest number that is free.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - for good
            setattr(sys, name, stream)


def output_failure(error: OSError) -> str | None:
    """Say why standard output couldn't be written; None where `error` is about something else.

    Empty where the reader left (`| head`), which nobody needs to be told. Whatever is still to be
    written is discarded: Python would complain once more when it flushes at its end.
    """
    if error.errno not in WRITE_ERRORS or error.filename is not None:
        return None
    with contextlib.suppress(OSError):  # a stream without a number has nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return ""
    return f"can't write the output: {os.strerror(error.errno)}; give it a place that takes it"
