"""The process around the relay: event loop, signals, systemd, exit codes."""

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from prynt_relay.config.settings import Config
from prynt_relay.daemon import sd_notify
from prynt_relay.daemon.memory import keep_trimmed
from prynt_relay.daemon.relay import Relay
from prynt_relay.errors import ConfigError, RelayError, StateFolderLockedError
from prynt_relay.telemetry import logs
from prynt_relay.version import __version__

_log = structlog.get_logger(__name__)

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_LOCKED: Final = 3

GC_THRESHOLDS: Final = (10_000, 20, 20)
"""Next to nothing here is in a cycle, so the collector may look less often: an event makes some
twenty tracked objects, and 700 of them (the default) would be a look every 35 events."""

Reload = Callable[[], Config]


def serve(config: Config, *, reload: Reload | None = None) -> int:
    """Run the daemon until it is told to stop; returns the exit code (contract, section 1).

    SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again
    with `reload`.
    """
    logs.configure(config.log.level, config.log.format)
    _take_all_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config, reload))


async def _serve(config: Config, reload: Reload | None) -> int:
    relay = Relay(config, intake_fd=sd_notify.listen_fd())
    process = Process(relay, reload)
    process.handle_signals()
    try:
        await relay.start()
    except StateFolderLockedError as error:
        _log.critical(str(error), action="start_failed")
        return EXIT_LOCKED
    except RelayError as error:
        _log.critical(str(error), action="start_failed")
        return EXIT_FAILED
    api, metrics = relay.api.address, relay.metrics_server.address
    _log.info(
        "ready",
        action="ready",
        version=__version__,
        state_dir=str(config.state_dir),
        socket=str(config.intake.socket),
        api=f"http://{api[0]}:{api[1]}",
        metrics=f"http://{metrics[0]}:{metrics[1]}/metrics",
        webhooks=len(relay.registry),
    )
    sd_notify.ready(f"delivering to {len(relay.registry)} webhooks")
    process.started()
    relay.supervisor.start("memory", keep_trimmed())
    _quieten_collector()
    return await process.run()


def _take_all_descriptors() -> None:
    """Raise the limit on open files to what is allowed.

    The usual 1,024 are the soft limit for programs that use select(2), which none of this does;
    every publisher that stays connected takes one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where "unlimited" isn't taken at its word (macOS) the limit stays as it is.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _quieten_collector() -> None:
    """Leave what lives as long as the process out of the garbage collector's passes.

    With ten thousand webhooks a full pass over it held the loop for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Process:
    """Answers signals, waits for a reason to leave, and leaves in good order."""

    def __init__(self, relay: Relay, reload: Reload | None) -> None:
        self._relay = relay
        self._reload = reload
        self._stop = asyncio.Event()
        self._at_once = asyncio.Event()
        self._is_started = False
        self._reload_wanted = False

    def handle_signals(self) -> None:
        """Let the process's signals come here, from before the relay starts."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._relay.supervisor.handle_loop_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.asked_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.asked_to_reload)

    def started(self) -> None:
        """The relay has started: make up for a reload that was asked for meanwhile."""
        self._is_started = True
        if self._reload_wanted:
            self.asked_to_reload()

    async def run(self) -> int:
        """Return the exit code once everything is stopped."""
        failed = asyncio.ensure_future(self._relay.failed())
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([failed, stop], return_when=asyncio.FIRST_COMPLETED)
        code = EXIT_DONE
        if failed.done():
            _log.critical("leaving after a failure", action="failed", why=failed.result())
            code = EXIT_FAILED
        failed.cancel()
        sd_notify.stopping("finishing what is in flight")
        _log.info("stopping", action="stopping", in_flight=self._relay.dispatcher.in_flight)
        stopped = asyncio.ensure_future(self._relay.stop(0.0 if code else None))
        at_once = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait([stopped, at_once], return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            _log.warning("stopping at once", action="stopping_at_once")
            self._relay.abandon()
            stopped.cancel()
            await asyncio.gather(stopped, return_exceptions=True)
            sys.stderr.flush()
            return EXIT_FAILED
        at_once.cancel()
        stopped.result()
        _log.info("stopped", action="stopped")
        return code

    def asked_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Begin to leave; asked again, leave at once."""
        if self._stop.is_set():
            self._at_once.set()
        else:
            _log.info("asked to stop", action="signal", signal=signal.Signals(number).name)
            self._stop.set()

    def asked_to_reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing."""
        if self._stop.is_set():
            # READY=1 would take back what the service manager knows: that the daemon leaves.
            return
        if not self._is_started:
            self._reload_wanted = True
            return
        if self._reload is None:
            _log.warning("there is no configuration file to reload", action="reload_ignored")
            return
        sd_notify.reloading()
        try:
            config = self._reload()
        except ConfigError as error:
            for problem in error.problems:
                _log.error("configuration not reloaded", action="reload_failed", problem=problem)
        else:
            self._relay.reload(config)
        sd_notify.ready(f"delivering to {len(self._relay.registry)} webhooks")
