"""The supervisor: binds sockets, forks, respawns, reloads; nothing else.

No event loop, no thread, no database: one poll over a few descriptors. It holds what must not be lost when another process is
(the sockets, the lock, the map's key) and does so little that it has no reason to crash.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import cast

import msgspec

import edgeproxy
from edgeproxy.config import load as config_load
from edgeproxy.config.structs import Config
from edgeproxy.link.table import COLUMNS_MAX
from edgeproxy.log import Log, Sink
from edgeproxy.supervision import birth, identity, state
from edgeproxy.supervision.children import Family, Main, Plan, Programs, WorkerMain
from edgeproxy.supervision.listeners import Listeners, wanted
from edgeproxy.supervision.loop import Supervisor, log_for, worker_count
from edgeproxy.supervision.signals import Signals
from edgeproxy.supervision.systemd import Notifier, activated_sockets

KEY_WITHIN = 30.0
"""Seconds for a helper process to answer. It reads one small file; where that hangs, the start should not."""

COLUMNS = 256
"""Workers that may live at once, those that still drain after reloads counted. A column that is not used costs nothing."""


def run(
    config: Config,
    config_path: Path | None,
    *,
    ready: Callable[[], None] | None = None,
    programs: Programs | None = None,
    load: Callable[[], Config] | None = None,
    environ: MutableMapping[str, str] | None = None,
    trial: bool = False,
) -> int:
    """Runs the edge until it is stopped; the exit status.

    `ready` is called once, when the controller and every worker serve. `load` makes the configuration for a reload; by
    default it is `config_path` with the environment, and without a path the same configuration again. `trial`: somebody tries
    the program on a machine of their own, so that running as root is nothing to warn of.

    Must be called in the main thread of a process without others. Raises EdgeError where the program cannot start: ports,
    permissions, the state directory, or what a child says it cannot work with. Nothing is left running then.
    """
    environment = os.environ if environ is None else environ
    started_at = time.time()
    sink = Sink()
    with contextlib.ExitStack() as stack:
        stack.callback(sink.close)
        stack.callback(os.umask, os.umask(0o077))
        log = log_for(config, sink)
        notifier = Notifier(environment)
        stack.callback(notifier.close)
        listeners = Listeners(activated_sockets(environment))
        stack.callback(listeners.close)
        identities = identity.identities(config.process)
        if os.geteuid() == 0 and identities.controller is None:
            tell = log.debug if trial else log.warning
            tell("every process runs as root; set process.user (and process.worker_user) to an unprivileged user")
        directory = Path(config.state.directory).absolute()
        state.prepare(directory, identities)
        lock = state.StateLock(directory)
        stack.callback(lock.close)
        signals = stack.enter_context(Signals())
        identity.name_process("edgeproxy")
        _raise_descriptor_limit(config, log)
        plan = Plan(config, 1, tuple(wanted(config, identities)))
        _bind(listeners, plan, log)
        programs = real_programs() if programs is None else programs
        closing: list[birth.Closing] = [notifier, signals, lock]
        map_key = _map_key(programs, config, directory, identities, log, [*closing, *listeners.all()])
        identity.forbid_core_dumps()
        # What was imported so far is shared by all children: the collector must not touch (and so copy) it.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        family = Family(
            programs=programs,
            log=log,
            identities=identities,
            listeners=listeners,
            state_directory=directory,
            config_path=config_path,
            started_at=started_at,
            map_key=map_key,
            columns=min(max(COLUMNS, 4 * worker_count(config)), COLUMNS_MAX),
            also_close=closing,
        )
        stack.callback(family.close)
        supervisor = Supervisor(
            plan=plan,
            family=family,
            listeners=listeners,
            identities=identities,
            notifier=notifier,
            signals=signals,
            log=log,
            load=load or _loader(config, config_path, environment),
            ready=ready,
        )
        return supervisor.serve()


def real_programs() -> Programs:
    """The worker, imported now, and the controller, imported when it is born."""
    worker = cast(WorkerMain, importlib.import_module("edgeproxy.edge.worker").main)

    def controller() -> Main:
        return cast(Main, importlib.import_module("edgeproxy.control.controller").main)

    def map_key(config: Config, state_directory: Path) -> bytes:
        keys = importlib.import_module("edgeproxy.keys")
        return cast(bytes, keys.derive(keys.root_key(config, state_directory, may_create=True), "map"))

    return Programs(worker, controller, map_key)


def _raise_descriptor_limit(config: Config, log: Log) -> None:
    limit = identity.raise_descriptor_limit()
    if limit < config.limits.connections:
        log.warning(
            f"a worker may open {limit} descriptors only; limits.connections needs more", needs=config.limits.connections
        )


def _bind(listeners: Listeners, plan: Plan, log: Log) -> None:
    listeners.prepare(list(plan.sockets))
    listeners.commit(list(plan.sockets))
    for text in (*listeners.skipped, *(f"systemd's socket {name} is used by nothing" for name in listeners.unused)):
        log.warning(text)


def _map_key(
    programs: Programs,
    config: Config,
    directory: Path,
    identities: identity.Identities,
    log: Log,
    closing: list[birth.Closing],
) -> bytes:
    """The published map's key, from a child that ran as the controller: the root of all keys never comes into this process.

    On the way, that child and one that ran as a worker see whether they could work at all.
    """

    def can_read() -> bytes:
        identity.require_readable(str(module.__file__) for module in (os, edgeproxy, msgspec))
        return b""

    def ask() -> bytes:
        can_read()
        state.require_writable(directory)
        return programs.map_key(config, directory)

    if identities.separated:
        birth.ask_child(birth.Birth("worker check", log, identities.worker, close=closing), can_read, KEY_WITHIN)
    return birth.ask_child(birth.Birth("key helper", log, identities.controller, close=closing), ask, KEY_WITHIN)


def _loader(config: Config, path: Path | None, environ: MutableMapping[str, str]) -> Callable[[], Config]:
    return lambda: config if path is None else config_load.load(path, environ)
