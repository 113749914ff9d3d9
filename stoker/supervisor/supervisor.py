"""The supervisor's loop: a few small parts, each asked in turn what it has to do.

Invariants, each of which holds after a kill -9 at any moment:
  - an accepted file has its copy, its row and its event, or is still in the inbox (inbox);
  - a dataset is ready exactly when its job is queued (intake);
  - a run's state and the event that tells it change together; a running run without an open task is started (lane);
  - a task is in the worker's list once: its row names its place there before it is appended (workers);
  - messages are in the store exactly once, with the offset up to which they were read (ingest);
  - an event is part of its incident once, and an alert waits in the store until it left (incidents, telling);
  - a version is published in the store only after its folder's manifest; its verdict and its promotion are one change.
A supervisor that starts therefore needs no memory of the last one: it re-attaches to the worker and goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import DatabaseError

from stoker.errors import DiskFull, StoreLost
from stoker.spec.lab import LabSpec
from stoker.store.records import Event
from stoker.store.store import Store
from stoker.supervisor.context import Clock, Context, MessageListener
from stoker.supervisor.guard import Guard
from stoker.supervisor.hardware import Hardware
from stoker.supervisor.holding import hold
from stoker.supervisor.housekeeping import Housekeeping
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import Intake
from stoker.supervisor.intents import Intents
from stoker.supervisor.lane import Lane
from stoker.supervisor.queue import Only
from stoker.supervisor.reporting import Reporting
from stoker.supervisor.service import Service
from stoker.supervisor.serving import Serving
from stoker.supervisor.telling import Telling
from stoker.supervisor.trouble import Trouble
from stoker.supervisor.workers import Workers
from stoker.workspace import Workspace

BUSY_SECONDS = 0.025
IDLE_SECONDS = 0.25
TROUBLE_SECONDS = 1.0
SAVE_GRACE_SECONDS = 300.0
EventListener = Callable[[Event], None]


class Supervisor:
    """The one process that owns a lab. `on_event` hears every event, `on_message` every message of a task, both after
    the commit and in the loop's thread."""

    def __init__(
        self,
        workspace: Workspace,
        spec: LabSpec,
        *,
        clock: Clock = time,
        on_event: EventListener | None = None,
        on_message: MessageListener | None = None,
    ) -> None:
        self.workspace, self.spec = workspace, spec
        self._clock, self._on_event, self._on_message = clock, on_event, on_message

    def run(self, until_idle: bool = False, stop: threading.Event | None = None) -> None:
        """Hold the lab and work until `stop` is set, or until nothing is left to do. Busy when someone else holds it.

        On leaving, a running run is paused with a checkpoint and the worker ended; killed, it leaves the worker at work.
        """
        stop = stop or threading.Event()
        self.workspace.create()
        with hold(self.workspace) as store:
            desk = Desk(self.context(store))
            desk.attend(stop, is_over=desk.is_idle if until_idle else None)

    def context(self, store: Store) -> Context:
        """Return what the parts share, on an open store."""
        if self._on_event is not None:
            store.listeners.append(self._on_event)
        return Context(self.workspace, self.spec, store, self._clock, self._on_message)


class Desk:
    """The parts of a supervisor at work on a held lab. `only`: take nothing from the inbox, train that alone."""

    def __init__(self, context: Context, only: Only | None = None) -> None:
        self.context = context
        self.is_alone = only is not None
        self._end_asked = threading.Event()
        self.inbox = Inbox(context)
        self.intake = Intake(context)
        self.workers = Workers(context)
        self.lane = Lane(context, self.workers, only)
        self.intents = Intents(context, self.inbox, self._end_asked.set)
        self.housekeeping = Housekeeping(context)
        self.guard = Guard(context, self.lane, self.workers)
        self.trouble = Trouble(context)
        self.service = Service()
        self.reporting = Reporting(context)
        self.hardware = Hardware(context, self.workers)
        self.telling = Telling(context)
        self.serving = Serving(context)

    def attend(self, stop: threading.Event, is_over: Callable[[], bool] | None = None) -> None:
        """Start, work until `stop` or `is_over`, end. A lost store ends it at once; the worker is left at work."""
        self.start()
        self.service.ready(f"lab {self.context.workspace.root}")
        try:
            self.work(stop, is_over)
        except StoreLost:
            self.inbox.stop()
            self.intake.end()
            raise
        except BaseException:
            self.end()
            raise
        self.end()

    def start(self) -> None:
        """Repair what the last supervisor left, then begin to listen."""
        self.housekeeping.at_start()
        self.lane.recover()
        if not self.is_alone:
            self.inbox.start()

    def work(self, stop: threading.Event, is_over: Callable[[], bool] | None = None) -> None:
        """Turn until `stop`, a `down` intent, or `is_over` says so."""
        while not (stop.is_set() or self._end_asked.is_set()):
            self.service.alive()
            try:
                self.trouble.keep_store()
                is_changed = self.turn()
                self.trouble.over()
                if is_over is not None and not is_changed and is_over():
                    return
                pause = BUSY_SECONDS if self.is_busy() else IDLE_SECONDS
            except (DatabaseError, DiskFull, OSError) as error:
                self.trouble.met(error)  # what passes by itself changed nothing: the turn is repeated
                self.lane.refresh_later()
                is_changed, pause = False, TROUBLE_SECONDS
            if not is_changed:
                self.context.wake.wait(pause)
                self.context.wake.clear()

    def turn(self) -> bool:
        """Ask every part once; return whether anything changed."""
        self.context.awake.turn()
        is_changed = self.intents.tick()
        if not self.is_alone:
            is_changed |= self.inbox.tick()
        if is_changed:
            self.intake.is_idle_known = False
        if self.intake.tick(beside_training=self.lane.is_busy):
            is_changed = True
            if self.intake.is_reading and not self.lane.is_busy:
                self.workers.start()  # its start-up takes longer than reading a small file
        if is_changed:
            self.lane.touch()
        is_changed |= self.lane.tick()
        self.guard.tick()
        self.housekeeping.tick()
        if not self.is_alone:
            self.reporting.tick()
            self.serving.tick()
        self.hardware.tick()
        self.telling.tick()
        return is_changed

    def is_busy(self) -> bool:
        """Tell whether something is under way whose end should be met at once."""
        is_waiting_for_files = self.inbox.is_busy and not self.is_alone
        return self.intake.is_reading or self.lane.is_busy or is_waiting_for_files

    def is_idle(self) -> bool:
        """Tell whether nothing is left to do without a person."""
        return not self.is_busy() and self.intake.is_idle_known and self.lane.is_idle()

    def end(self) -> None:
        """Stop listening, pause the running run with a checkpoint, end the worker."""
        self.service.stopping("a checkpoint is saved")
        self.inbox.stop()
        self.intake.end()
        if self.lane.pause_for_end() is not None:
            self._wait_for_save()
        self.workers.end()
        self.lane.let_go()
        self.workers.collect_end()
        self.serving.end()
        self.telling.tick()  # what it starts now goes on alone

    def _wait_for_save(self) -> None:
        deadline = time.monotonic() + SAVE_GRACE_SECONDS
        while self.lane.is_busy and self.workers.is_alive and time.monotonic() < deadline:
            self.service.alive()
            self.context.awake.turn()
            self.lane.listen()
            self.guard.tick()  # a worker that hangs can't save: it is not waited for
            time.sleep(BUSY_SECONDS)
