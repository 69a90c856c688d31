"""What the log speaks of: every `action` that a line can have.

docs/logs.md has the table; `python -m prynt_relay.telemetry.actions` prints it. A test holds both
against the code.
"""

from typing import Final

import msgspec


class Action(msgspec.Struct, frozen=True):
    """One action: the levels it is logged at, and what it means for whoever reads it."""

    levels: tuple[str, ...]
    meaning: str


def _at(levels: str, meaning: str) -> Action:
    return Action(tuple(levels.split()), meaning)


ACTIONS: Final[dict[str, Action]] = {
    # the daemon's life
    "ready": _at("info", "The daemon accepts events and delivers. Names its addresses."),
    "signal": _at("info", "The daemon was asked to stop."),
    "stopping": _at("info", "The daemon drains: `in_flight` attempts may still finish."),
    "stopping_at_once": _at("warning", "A second signal came; what is in flight is made again."),
    "attempts_cut_off": _at("warning", "The drain's time was up for `count` attempts."),
    "stopped": _at("info", "The daemon left in good order."),
    "start_failed": _at("critical", "The daemon can't start; the message says why."),
    "failed": _at("critical", "The daemon leaves with an error, for systemd to start it again."),
    "internal_error": _at("critical", "A part of the daemon failed; it leaves."),
    "crashed": _at("critical", "An exception that nobody caught ended a thread or the program."),
    "dispatcher_stuck": _at("error", "The dispatcher has not moved for `age_s` seconds."),
    "connection_error": _at("debug", "A peer's connection broke while it was being closed."),
    "connection_failed": _at("warning", "A connection failed as none should; it was closed."),
    "reloaded": _at("info", "The configuration was read again; `changed` names what is new."),
    "reload_needs_restart": _at("warning", "These settings changed but need a restart."),
    "reload_failed": _at("error", "A mistake in the new configuration; the old one stays."),
    "reload_ignored": _at("warning", "There is no configuration to read again."),
    "secrets_in_clear": _at("warning", "No encryption key is set: secrets are stored in clear."),
    "config_warning": _at("warning", "A setting has no effect for want of another; `key`."),
    # events coming in
    "intake_listening": _at("info", "The socket accepts publishers."),
    "intake_accept_failed": _at("error", "Publishers can't be accepted for now."),
    "intake_accept_resumed": _at("info", "Publishers are accepted again."),
    "intake_open_failed": _at("warning", "One publisher's connection failed at its start."),
    "intake_failed": _at("error", "A publisher's events could not be handed in."),
    "intake_partial_lines_full": _at(
        "warning", "Unfinished lines take too much memory; a publisher was disconnected."
    ),
    "intake_stop_timeout": _at("warning", "Publishers didn't read their last answers in time."),
    "filter_failed": _at(
        "warning",
        "A webhook's filter failed on an event, which it doesn't get: the first, the tenth, the "
        "hundredth since it was set; `failures` counts them.",
    ),
    # deliveries
    "attempt": _at("debug warning", "One attempt: successes at debug, failures at warning."),
    "hosts_file_too_large": _at("warning", "/etc/hosts is so large that its end may be misread."),
    "attempt_broke": _at("error", "An attempt failed for a reason of the relay's own."),
    "settle_failed": _at("error", "Results could not be recorded; the attempts are made again."),
    # webhooks
    "webhook_created": _at("info", "A webhook was made."),
    "webhook_changed": _at("info", "A webhook was changed; `fields` names what."),
    "webhook_deleted": _at("info", "A webhook was deleted."),
    "secret_rotated": _at("info", "A webhook has a new signing secret, or will have."),
    "webhook_failing": _at("warning", "A webhook fails; the warning e-mail is on its way."),
    "webhook_disabled": _at("error", "A webhook was disabled for failing."),
    "webhook_unfit": _at("error", "A stored webhook can't be sent to: no request fits its fields."),
    "deliveries_converted": _at("info", "Deliveries were held or cancelled with their webhook."),
    "retry_window": _at("info", "`count` deliveries of a window are sent again."),
    "sample_sent": _at("info", "A test delivery was made."),
    # storage
    "storage_unavailable": _at("error", "The disk takes no writes; events are refused meanwhile."),
    "storage_available": _at("info", "The disk takes writes again."),
    "storage_failed": _at("critical", "The database can't be relied on; the daemon leaves."),
    "write_failed": _at("error", "One write was refused; the others went on."),
    "checkpoint_failed": _at("warning", "The write-ahead log could not be written back for now."),
    "history_purged": _at("info", "Old history was deleted; counts what, and what was still held."),
    # e-mails
    "email_sent": _at("info", "The mail server took an e-mail."),
    "email_failed": _at("warning", "An e-mail could not be sent; it is tried again."),
    "email_given_up": _at("error", "An e-mail was given up after three days of tries."),
    "email_not_configured": _at(
        "warning", "What an e-mail would have said; `message` says why it isn't sent."
    ),
    "outbox_unavailable": _at("warning", "The outbox can't be read or written for now."),
    # the API and the rest
    "api_request": _at("debug info", "One API request: reads at debug, changes at info."),
    "signed_in": _at("info", "Somebody signed in to the dashboard with the API key."),
    "sign_in_refused": _at("warning", "Somebody tried a wrong key at the dashboard."),
    "api_error": _at("error", "A request failed for a reason of the relay's own: a 500."),
    "idempotency_not_kept": _at("warning", "An answer could not be kept for its Idempotency-Key."),
    "stats_stale": _at("debug", "Statistics were answered from older figures."),
    "rollup_postponed": _at("debug", "Statistics wait for the disk."),
    "gauge_unreadable": _at("warning", "A scrape lacks a gauge that could not be read."),
    "library": _at("warning error", "A library's own message; `logger` names it."),
}


def table() -> str:
    """The actions as a Markdown table."""
    rows = [
        f"| `{name}` | {', '.join(action.levels)} | {action.meaning} |"
        for name, action in ACTIONS.items()
    ]
    return "\n".join(["| action | level | meaning |", "| --- | --- | --- |", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201 - this is what it is for
