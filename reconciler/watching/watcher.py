"""The loop of watch: wait for something, gather what is concerned, take a turn, tell what came of it."""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ..app.request import Request
from ..app.run import surveyor_at
from ..errors import HostError, Mistakes, ReconcilerError
from ..formats.text import printable
from ..history.causes import upgrading
from ..host.port import Observer
from ..host.units import has_systemd
from ..kinds import kinds
from ..model import Address, Target
from .affected import Concern, Places
from .bus import Bus
from .drift import Drift, summary
from .event_sources import Eyes
from .notices import Lost
from .notify import ERROR, INFO, NOTICE, WARNING, Line, Manager, Teller
from .reconcile import LATER, Outcome, Reconciler, wall
from .sources import Follower, Kept, Source

QUIET, LONGEST = 0.05, 0.3
"""Seconds without an event, and in all, that are waited before a look: one save of an editor is several events."""
CALM, PATIENT = 0.2, 1.0
"""The same for the desired files, of which several may change together."""
UPGRADE = 900.0
"""So long a package manager's run is waited for."""
POLL = 30.0
"""Seconds between two looks at daemons where systemd tells nothing."""
BREATH = 10.0
"""Seconds between two looks at everything because events were lost."""
GRACE = 1.2
"""Seconds that a run which is under way may go on when we are to end."""


NOISE, REST = 4, 0.1
"""After how many wakings for nothing, since a whole file system is watched, it rests for so many seconds."""


class Stop(BaseException):
    """The time to end has come; what is under way is settled by the next run."""


def _ready(listening: list[Any], timeout: float | None) -> bool:
    """Wait until something can be read; False where nothing could."""
    with selectors.DefaultSelector() as ready:
        for each in listening:
            ready.register(each, selectors.EVENT_READ)
        return bool(ready.select(timeout))


def slim() -> None:
    """Give back to the system what a look at everything took, since the next one is far away."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Watcher:
    """Stays until it is told to end."""

    def __init__(
        self,
        turns: Reconciler,
        source: Source,
        eyes: Eyes,
        *,
        tellers: Sequence[Teller],
        manager: Manager,
        kept: Kept | None,
        log_path: str,
        full: float,
        follow: Follower | None = None,
    ) -> None:
        self.turns, self.source, self.eyes = turns, source, eyes
        self.tellers, self.manager, self.kept, self.follow = tellers, manager, kept, follow or Follower(())
        self.log_path = log_path
        self.every = full
        """Seconds between two looks at everything without any event."""
        self.wanted: Request | None = None
        self.pending = Concern()
        self.state = "starting"
        self.single = False
        """Whether there is one look and no more, so that nothing has to be looked after."""
        self._first = self._last = 0.0
        self._full = self._poll = 0.0
        self._noise = 0
        """How many times in a row files of others alone were told of."""
        self._retry: tuple[float, Concern] | None = None
        self._upgrade = 0.0
        self._failures = 0
        self._seq = -1
        self._said: dict[str, str] = {}
        self._bus: Bus | None = None
        self._units: frozenset[str] = frozenset()
        self._stopping = self._reloading = self._ending = False
        self._lost_at = -BREATH
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._started = datetime.now(UTC)

    def alone(self) -> int:
        """One look at everything, and what follows from it; the exit code."""
        self.single = True
        try:
            self.follow.once()
            self._read()
            if self.wanted is None or "mistake" in self._said:
                return 1
            began = time.monotonic()
            concern = Concern(everything=True, desired=True)
            outcome = self._turn(concern)
            if outcome is None:
                return 1
            self._after(concern, outcome, began)
            if outcome.state == "converged":
                self._tell(Line("ready", "all is as it should be", INFO))
            self._figures()
            return outcome.code
        finally:
            self.eyes.close()

    def run(self) -> int:
        """Look at everything, then wait and react, until somebody says stop."""
        self._handle_signals()
        try:
            with suppress(ReconcilerError):
                self.turns.remember(self.turns.home.reader())
            self._full = time.monotonic() + self.every
            self.follow.begin()
            self._read()
            with suppress(ReconcilerError):
                self._arm(self.turns.home.observer())
            # Whoever waits for us need not wait for what the first look may have to do.
            self.manager.ready()
            held = len(self.eyes.places.files) + len(self.eyes.places.trees) + len(self.eyes.places.units)
            by = ", ".join(f"{count} by {name}" for name, count in self.eyes.by.items()) or "nothing"
            self._tell(Line("ready", f"watching {held} paths and units ({by})", NOTICE, {"by": self.eyes.by}))
            self._add(Concern(everything=True, desired=True))
            self._first = self._last = time.monotonic() - PATIENT
            self._take()
            while not self._stopping:
                self._wait()
                self._step()
        except Stop:
            self._tell(Line("waiting", "ended during a run; the next one settles what was under way", NOTICE))
        finally:
            self._ending = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.manager.stopping()
            self.follow.end()
            self.state = "ended"
            self._figures()
            for teller in self.tellers:
                teller.close()
            self.eyes.close()
            if self._bus is not None:
                self._bus.close()
        return 0

    def _step(self) -> None:
        """One round: gather, and act where it is time."""
        self._gather()
        self.manager.ping()
        now = time.monotonic()
        if self._reloading:
            self._reloading = False
            self.manager.reloading()
            self.follow.again()
            self._said.clear()
            self.pending.take(Concern(everything=True, desired=True))
            self._first = self._last = now - PATIENT
            self._take()
            self.manager.ready()
            return
        if self._retry is not None and now >= self._retry[0]:
            self._add(self._retry[1])
            self._retry = None
        if now >= self._full:
            self._add(Concern(everything=True))
        if self._bus is None and self._units and now >= self._poll:
            self._poll = now + POLL
            self._listen()
            self._add(Concern(addresses={self.eyes.places.units[unit] for unit in self._units}))
        self.follow.keep()
        if self.pending and now >= self._due():
            self._take()

    def _due(self) -> float:
        """When what is pending has its turn."""
        quiet, longest = (CALM, PATIENT) if self.pending.desired else (QUIET, LONGEST)
        return min(self._last + quiet, self._first + longest)

    def _timeout(self) -> float | None:
        times = [self._full]
        if self.pending:
            times.append(self._due())
        if self._retry is not None:
            times.append(self._retry[0])
        if self._bus is None and self._units:
            times.append(self._poll)
        if self.manager.every is not None:
            times.append(time.monotonic() + self.manager.every)
        return max(0.0, min(times) - time.monotonic())

    def _wait(self) -> None:
        """Until something happens, or something is due."""
        others: list[Any] = [*([self._bus] if self._bus else []), self._wake[0]]
        if self._noise < NOISE or not _ready(others, min(REST, self._timeout() or REST)):
            # Where nothing but others' files was told of, it is waited for more of that, and for our own a moment.
            self._noise = self._noise + 1 if _ready([*self.eyes.files, *others], self._timeout()) else 0
        with suppress(BlockingIOError):
            os.read(self._wake[0], 4096)

    def _gather(self) -> None:
        """Take what eyes and the bus tell."""
        now, fought = time.monotonic(), self._fought()
        for notice in self.eyes.notices():
            if isinstance(notice, Lost):
                self._lost(notice)
                continue
            found = self.eyes.places.concerned(notice)
            if found.desired:
                self.follow.again()
            if found.log:
                found.log = False
                found.everything = found.desired = self._foreign()
            for address in [a for a in found.addresses if a in fought and not kinds().spans(a)]:
                found.addresses.discard(address)
            flooded = [until for a in found.addresses if (until := self.turns.fights.until((str(a),), now)) is not None]
            if flooded:
                self._later(found, max(flooded))
            else:
                self._add(found)
            self._noise = 0
        if self._bus is not None:
            try:
                for unit in self._bus.units():
                    if unit in self.eyes.places.units:
                        self._add(Concern(addresses={self.eyes.places.units[unit]}))
            except HostError as error:
                self._tell(Line("trouble", f"{error}; daemons are looked at every {POLL:.0f} seconds", WARNING))
                self._bus.close()
                self._bus, self._poll = None, time.monotonic() + POLL

    def _lost(self, notice: Lost) -> None:
        """Look at everything, but not as often as somebody makes us lose events."""
        concern, since = Concern(everything=True, desired=True, moved=True), time.monotonic() - self._lost_at
        if since < BREATH:
            self._later(concern, time.monotonic() + BREATH - since)
            return
        self._lost_at = time.monotonic()
        self._tell(Line("lost", f"{notice.why}; everything is looked at", INFO))
        self._add(concern)

    def _fought(self) -> set[Address]:
        going = self.turns.fights.going_on(time.monotonic())
        return {Address.parse(key[0]) for key in going}

    def _add(self, concern: Concern) -> None:
        if not concern:
            return
        now = time.monotonic()
        self._first = self._first if self.pending else now
        self._last = now
        self.pending.take(concern)

    def _later(self, concern: Concern, at: float) -> None:
        """Have something looked at later, beside what is due then already."""
        when, what = self._retry or (at, Concern())
        what.take(concern)
        self._retry = min(when, at), what

    def _foreign(self) -> bool:
        """Whether somebody else wrote to the log since we last did."""
        with suppress(ReconcilerError):
            return self.turns.home.reader().tail()[0] != self._seq
        return False

    def _read(self) -> None:
        """Read the desired state; what was good stays in force while what is there cannot be used."""
        host = self.turns.home.observer()
        try:
            found = self.source.read(host)
            self._said.pop("mistake", None)
        except ReconcilerError as error:
            if self.wanted is None and self.kept is not None and not self.single:
                self.wanted = self.kept.get(host)
            stays = "the last good state stays in force" if self.wanted is not None else "nothing is done until it is"
            self._once("mistake", Line("mistake", f"the desired state cannot be used; {stays}\n{error}", ERROR))
            return
        if found is None:
            self._once("waiting", Line("waiting", "no commit was applied here yet", INFO))
            return
        self.wanted = found

    def _take(self) -> None:
        """Have the turn for what is pending, and decide when the next look is due."""
        now = time.monotonic()
        lock = upgrading()
        if lock and (not self._upgrade or now - self._upgrade < UPGRADE):
            self._upgrade = self._upgrade or now
            self._once("upgrade", Line("waiting", f"a package manager is at work ({lock}); waiting for its end", INFO))
            self._later(self.pending, now + 0.3)
            self.pending = Concern()
            return
        self._upgrade = 0.0
        self._said.pop("upgrade", None)
        concern, began, self.pending = self.pending, self._first, Concern()
        if concern.desired:
            self._read()
        outcome = self._turn(concern) if self.wanted is not None else None
        if outcome is not None:
            self._after(concern, outcome, began)
        if concern.everything:
            self._full = time.monotonic() + self.every
            slim()
        self._figures()

    def _turn(self, concern: Concern) -> Outcome | None:
        assert self.wanted is not None
        try:
            if not self.single and (concern.everything or concern.desired or concern.moved):
                # Set before the look: what happens after it is seen.
                self._arm(self.turns.home.observer())
            outcome = self.turns.turn(self.wanted, concern)
        except Mistakes as error:
            self._once("mistake", Line("mistake", f"the desired state cannot be used on this host\n{error}", ERROR))
            return None
        except ReconcilerError as error:
            outcome = Outcome("failed", str(error), again=LATER, code=error.exit_code)
        self.state = "converged" if outcome.state == "done" and not outcome.code else outcome.state
        if self.kept is not None and outcome.state in ("done", "converged") and concern.desired:
            self.kept.put(self.wanted)
        self._seq = max(self._seq, outcome.seq)
        return outcome

    def _after(self, concern: Concern, outcome: Outcome, began: float) -> None:
        """Tell what came of it, and note when to look again."""
        took = time.monotonic() - began
        if outcome.settled:
            self._tell(Line("done", f"an earlier run was cut off; settled: {outcome.settled}", NOTICE))
        for drift in outcome.drift:
            self._tell(self._drifted(drift, outcome, took))
            if drift.fight is not None:
                others = ", ".join(drift.fight["with"]) or "a process that could not be named"
                fields = "; ".join(".".join(field) for field in drift.fight["fields"])
                until = drift.fight["until"]
                text = f"{drift.address}: {fields} is rewritten again and again by {others}; left alone until {until}"
                self._tell(Line("fight", text, WARNING, {"address": str(drift.address), "with": drift.fight["with"]}))
        if outcome.report is not None and outcome.state in ("done", "failed") and outcome.report.transitions:
            self._tell(self._ran(outcome, took))
        hindered = outcome.state in ("waiting", "refused") or (outcome.state == "drifted" and bool(outcome.message))
        if hindered or (outcome.state == "failed" and outcome.report is None):
            self._once(outcome.state, self._hindrance(outcome))
        elif outcome.state in ("done", "converged") and (concern.everything or concern.desired):
            for key in ("waiting", "refused", "failed", "drifted"):
                self._said.pop(key, None)
        before, self._retry, again = self._retry, None, outcome.again
        if before is not None and not concern.everything:
            self._later(before[1], before[0])
        if outcome.state == "failed":
            self._failures += 1
        elif before is None or concern.everything:
            self._failures = 0
        if again is not None:
            # What failed is tried again soon at first, since somebody may just have been quicker.
            again = min(again, 2.0 ** min(self._failures, 20)) if outcome.state == "failed" else again
            self._later(self._again(concern, outcome), time.monotonic() + again)

    def _again(self, concern: Concern, outcome: Outcome) -> Concern:
        """What is to be looked at later: what could not be done, and what others fought for."""
        found = Concern()
        if outcome.failed and not (concern.everything or concern.desired):
            found.take(Concern(addresses=set(outcome.failed)))
        elif outcome.state in ("waiting", "failed", "drifted", "refused"):
            found.take(concern)
        for key in self.turns.fights.going_on(time.monotonic()):
            address = Address.parse(key[0])
            found.add(address)
            top = address.name.rstrip("/") + "/"
            if kinds().spans(address) and key[1].startswith(top):
                path = key[1][len(top) :].encode("utf-8", "surrogateescape")
                found.alone.setdefault(address, set()).add(path)
        return found if found else Concern(everything=True)

    def _drifted(self, drift: Drift, outcome: Outcome, took: float) -> Line:
        repaired = outcome.state in ("done", "failed") and drift.corrected and drift.address not in outcome.failed
        repaired = repaired and outcome.report is not None
        what, why = summary(drift, repaired=repaired), f"cause: {drift.cause.text}"
        if repaired:
            text = f"{outcome.run}: repaired {drift.address}: {what}; {why}; {took:.2f} s"
        elif drift.conflict:
            text = f"{drift.address} was changed by someone else, and nobody asks for it, so it is left: {what}; {why}"
        elif drift.corrected and outcome.state == "failed":
            text = f"{drift.address} could not be repaired: {what}; {why}"
        else:
            text = f"{drift.address} drifted and is left as it is: {what}; {why}"
        fields = {
            "run": outcome.run, "address": str(drift.address), "deployment": drift.deployment,
            "cause": drift.cause.text, "cause_kind": drift.cause.kind, "fields": list(drift.fields),
            "policy": "enforce" if drift.enforced else "audit", "seconds": round(took, 3),
        }  # fmt: skip
        return Line("done" if repaired else "drift", text, NOTICE if repaired else WARNING, fields)

    def _ran(self, outcome: Outcome, took: float) -> Line:
        report = outcome.report
        assert report is not None
        good = sum(result == "succeeded" for _, result, _ in report.transitions)
        drifted = {drift.address for drift in outcome.drift}
        rest = [f"{t.verb} {t.address}" for t, result, _ in report.transitions if t.address not in drifted]
        listed = ", ".join(rest[:8]) + (f" and {len(rest) - 8} more" if len(rest) > 8 else "")
        text = f"{report.run}: {report.outcome}, {good} of {len(report.transitions)} transitions in {took:.2f} s"
        text += f": {listed}" if listed else ""
        text += f"; {outcome.message}" if outcome.message else ""
        for path, reason in report.skipped[:5]:
            text += f"; {path} was left: {reason}"
        level = INFO if outcome.code == 0 else ERROR if outcome.code == 1 else WARNING
        fields = {"run": report.run, "outcome": report.outcome, "transitions": good, "seconds": round(took, 3)}
        return Line("done" if outcome.code == 0 else "trouble", text, level, fields, not listed and not outcome.code)

    @staticmethod
    def _hindrance(outcome: Outcome) -> Line:
        plan, text = outcome.plan, outcome.message
        if plan is not None and outcome.state == "refused":
            text += "".join(f"\n  {b.address}: {b.reason}" for b in plan.blocked[:10])
        what = "waiting" if outcome.state in ("waiting", "drifted") else "trouble"
        return Line(what, text, INFO if what == "waiting" else ERROR, {"state": outcome.state})

    def _arm(self, host: Observer) -> None:
        """Look after the places that matter now."""
        targets: dict[Address, Target] = {}
        if self.wanted is not None:
            goals, _, _ = self.wanted.prepare(surveyor_at(self.turns.home, host, self.turns.home.reader()))
            targets = {**goals.audit, **goals.targets}
        places = Places.of(host, targets, self.source.paths, self.log_path)
        self.eyes.look_after(places, host.mounts())
        if self.eyes.blind:
            listed = ", ".join(sorted(self.eyes.blind)[:5])
            self._once("blind", Line("trouble", f"no events come from {listed}: looked at every full look", WARNING))
        units = frozenset(places.units)
        if units != self._units or self._bus is None:
            self._units = units
            if self._bus is not None:
                self._bus.close()
                self._bus = None
            self._listen()

    def _listen(self) -> None:
        """Have systemd tell of the daemons, where it can."""
        host = self.turns.home.observer()
        if self._units and host.live and has_systemd(host):
            try:
                self._bus = Bus(self._units)
                self._said.pop("bus", None)
            except HostError as error:
                self._once("bus", Line("trouble", f"{error}; daemons are looked at every {POLL:.0f} seconds", INFO))

    def _once(self, key: str, line: Line) -> None:
        """Say something unless it was the last that was said of this."""
        if self._said.get(key) != line.text:
            self._said[key] = line.text
            self._tell(line)

    def _tell(self, line: Line) -> None:
        for teller in self.tellers:
            teller.tell(line)

    def _figures(self) -> None:
        """What holds now, for whoever shows it."""
        going, now = self.turns.fights.going_on(time.monotonic()), time.monotonic()
        fights = [
            {
                "field": list(key),
                "until": wall(fight.until, now).isoformat(timespec="seconds"),
                "with": sorted(fight.others)[:5],
            }
            for key, fight in going.items()
        ]
        trouble = ("mistake", "refused", "failed", "waiting")
        message = next((self._said[key] for key in trouble if key in self._said), "")
        state = {
            "pid": os.getpid(),
            "since": self._started.isoformat(timespec="seconds"),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": self.state,
            "message": message,
            "by": self.eyes.by,
            "blind": sorted(self.eyes.blind),
            "drift": sorted(map(str, self.turns.told)),
            "fights": fights,
            "full": round(max(0.0, self._full - time.monotonic())),
        }  # fmt: skip
        self.manager.status(f"{self.state}: {printable(message)[:200]}" if message else self.state)
        for number, teller in enumerate(self.tellers):
            try:
                teller.figures(state)
                self._said.pop(f"teller {number}", None)
            except ReconcilerError as error:
                # Who cannot be told keeps no repair waiting.
                self._once(f"teller {number}", Line("trouble", f"could not be told: {error}", WARNING))

    def _handle_signals(self) -> None:
        def end(number: int, frame: Any) -> None:  # noqa: ARG001 - a handler gets both
            self._stopping = True
            signal.setitimer(signal.ITIMER_REAL, GRACE)

        def now(number: int, frame: Any) -> None:  # noqa: ARG001
            if not self._ending:
                raise Stop

        def again(number: int, frame: Any) -> None:  # noqa: ARG001
            self._reloading = True

        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number, act in ((signal.SIGTERM, end), (signal.SIGINT, end), (signal.SIGALRM, now), (signal.SIGHUP, again)):
            signal.signal(number, act)
