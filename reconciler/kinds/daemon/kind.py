"""A daemon: whom it runs as, whether it is enabled, whether it runs, and whether what runs is what is set.

Its settings are a drop-in of ours, ``reconciler.conf``.  Restarts are derived: a daemon is stale when a thing
it depends on was changed after it started, or when its live process is not what its unit says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as with_
from typing import Any

from ...core.kind import Conflict, Context, Effects, Kind, Proposal, Step, Trial
from ...core.vault import Vault
from ...errors import HostError, Unseen
from ...host import units
from ...host.names import Names, absent
from ...host.port import File, Host, Link, Observer
from ...host.services import call, misfit, running_from, sysv
from ...host.units import SETTINGS, drop_in, drop_in_text, strange
from ...model import Absent, Address, Change, Field, Json, Seen, State, Target, Unknown, inside
from .. import kinds
from .._located import empty_left
from .resource import Daemon
from .state import ENABLED, RUNNING, SUFFIX, DaemonState

FRESH: Field = ("fresh",)


STEADY = 8


PATIENCE = 100


class DaemonKind(Kind[DaemonState]):
    """Services under systemd; init scripts where there is no unit; files alone in a root directory."""

    name = "daemon"
    elsewhere = ("service", "systemd", "systemd_service", "unit")
    runs = True
    rank = 50
    state = DaemonState
    resource = Daemon

    def read(self, host: Observer, name: str) -> Seen:
        """Unit files, drop-ins, enabling links; on a live host the process too."""
        unit = units.load(host, name)
        systemd = units.has_systemd(host)
        path = drop_in(name)
        ours = {k: v for s, k, v, p in unit.settings if p == path and s == "Service"}
        effective: dict[str, str] = {}
        below: dict[str, str] = {}
        winner: dict[str, str] = {}
        for key in SETTINGS.values():
            if key in units.LISTS:
                effective[key] = " ".join(unit.merged("Service", key))
                below[key] = " ".join(unit.merged("Service", key, without=path))
                later = [p for s, k, _, p in unit.settings if (s, k) == ("Service", key) and units.comes_later(p)]
                winner |= {key: later[-1]} if later else {}
                continue
            now, then = unit.last("Service", key), unit.last("Service", key, without=path)
            effective[key], below[key] = now[0] if now else "", then[0] if then else ""
            if now and units.comes_later(now[1]):
                winner[key] = now[1]
        parents = ("/etc/systemd", units.ETC, path.rsplit("/", 1)[0])
        state = DaemonState(
            found=unit.found,
            masked=unit.masked,
            strange=strange(host, path, ours),
            mtime=there.mtime_ns if (there := host.stat(path)) else None,
            installable=bool(units.enabling(host, unit)),
            ours=ours,
            effective=effective,
            below=below,
            winner=winner,
            links=units.enabled_links(host, unit),
            missing=tuple(parent for parent in parents if host.stat(parent) is None),
            bare=tuple(
                sorted({d for path in units.enabling(host, unit) if host.stat(d := path.rsplit("/", 1)[0]) is None})
            ),
            systemd=systemd,
        )
        if not host.live or not unit.found:
            return state
        return state.model_copy(update=self._live(host, unit, state))

    def _live(self, host: Observer, unit: units.Unit, state: DaemonState) -> dict[str, Json]:
        if not state.systemd:
            running = host.query([unit.script or "", "status"]).code == 0
            return {"running": running}
        told = units.show(host, unit.name)
        waits = told.get("SubState") == "auto-restart"
        running = told.get("ActiveState") in ("active", "activating", "reloading") and not waits
        pid = int(told.get("MainPID") or 0)
        process = next((p for p in host.processes() if p.pid == pid), None) if pid else None
        if process is None:
            return {"running": running, "up": told.get("ActiveState") == "active"}
        ident = {"boot": host.boot(), "pid": process.pid, "start": process.start}
        up = told.get("ActiveState") in ("active", "reloading")
        return {
            "running": running,
            "up": up,
            "process": ident,
            "misfit": misfit(host, process, state.effective),
        }

    def fields(self, state: State) -> dict[Field, Json]:
        """Settings, enablement, running, freshness."""
        if not isinstance(state, DaemonState) or (not state.found and not state.ours):
            return {}
        found: dict[Field, Json] = {
            field: {
                "ours": state.ours.get(key),
                "is": state.effective.get(key, ""),
                "missing": list(state.missing),
                "mtime": state.mtime,
            }
            for field, key in SETTINGS.items()
        }
        found[ENABLED] = {"links": dict(state.links), "is": bool(state.links), "bare": list(state.bare)}
        if state.running is not None:
            found |= {RUNNING: state.running, FRESH: not (state.stale or state.misfit)}
        return found

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """The state with these settings: nothing is set that is so already without us."""
        if not isinstance(state, DaemonState):
            return state
        ours, effective = dict(state.ours), dict(state.effective)
        missing, mtime = state.missing, state.mtime
        for field, key in SETTINGS.items():
            if field not in values:
                continue
            value = values[field]
            if isinstance(value, dict):
                ours.pop(key, None)
                if value["ours"] is not None:
                    ours[key] = value["ours"]
                missing, mtime = max(missing, tuple(value.get("missing", ())), key=len), value.get("mtime")
            elif not same_setting(field, effective.get(key, ""), value):
                ours[key], mtime = value, None
            effective[key] = ours.get(key, state.below.get(key, ""))
        update: dict[str, Json] = {"ours": ours, "effective": effective, "missing": missing, "mtime": mtime}
        if ENABLED in values:
            asked = values[ENABLED]
            links = asked["links"] if isinstance(asked, dict) else None
            if links is None and bool(state.links) != asked:
                links = {"": ""} if asked else {}
            update["links"] = state.links if links is None else links
            update["bare"] = tuple(asked.get("bare", ())) if isinstance(asked, dict) else state.bare
        if RUNNING in values and state.running is not None:
            update["running"] = values[RUNNING]
        return state.model_copy(update=update)

    def show(self, field: Field, value: Json) -> Json:
        """What counts, whoever set it."""
        if isinstance(value, dict) and "is" in value:
            return value["is"] if value["is"] != "" else "root" if field == ("run_as", "user") else None
        if field in SETTINGS and value == "":
            return None
        return value

    def effects(self, found: Proposal, state: State) -> Effects:
        """Whom it runs as."""
        user = state.effective.get("User") or "root" if isinstance(state, DaemonState) else None
        return Effects() if user is None else Effects(users={found.target.address.name: user})

    def needs(self, name: str, state: State) -> set[Address]:
        """The account and groups that it runs with."""
        if not isinstance(state, DaemonState):
            return set()
        user, group = state.effective.get("User"), state.effective.get("Group")
        wanted = {Address("account", user)} if user else set()
        wanted |= {Address("group", group)} if group else set()
        return wanted | {Address("group", word) for word in state.effective.get("SupplementaryGroups", "").split()}

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """A setting is the same where the same counts and the same stands in our drop-in."""
        if field in SETTINGS and isinstance(a, dict) and isinstance(b, dict) and a["ours"] != b["ours"]:
            return False
        return super().same(field, a, b)

    def altered(self, field: Field, now: Json, recorded: Json) -> bool:
        """Only what stands in our drop-in is ours to lose."""
        if field in SETTINGS and isinstance(now, dict) and isinstance(recorded, dict):
            return bool(now["ours"] != recorded["ours"])
        return super().altered(field, now, recorded)

    def edits(self, name: str) -> tuple[str, ...]:
        """Our drop-in."""
        return (drop_in(name),)

    def short(self, name: str) -> str:
        """A service without its suffix."""
        return name.removesuffix(SUFFIX)

    def watches(self, name: str) -> tuple[str, ...]:
        """Our drop-in, and the init script where there is one."""
        return (*self.edits(name), f"/etc/init.d/{self.short(name)}")

    def spared(self, host: Observer, name: str) -> list[str]:
        """The runtime directories that systemd makes and removes with it."""
        return [f"/run/{word}" for word in units.load(host, name).merged("Service", "RuntimeDirectory")]

    def process(self, host: Observer, name: str) -> Json:
        """Boot, process number and start of its main process."""
        seen = self.read(host, name)
        return dict(seen.process) if isinstance(seen, DaemonState) and seen.process else None

    def estranged(self, state: State) -> str:
        """How its live process differs from what its unit says, where a restart is due for nothing else."""
        return state.misfit if isinstance(state, DaemonState) and not state.stale else ""

    def described(self, seen: DaemonState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Whom it runs as and with what, and whether it is enabled and runs."""
        told = seen.effective
        if told.get("User"):
            yield "run_as", {"user": told["User"], **({"group": told["Group"]} if told.get("Group") else {})}
        if told.get("SupplementaryGroups"):
            yield "supplementary_groups", told["SupplementaryGroups"].split()
        if told.get("AmbientCapabilities"):
            yield "ambient_capabilities", told["AmbientCapabilities"].lower().split()
        if seen.installable:
            yield "enabled", "true" if seen.links else "false"
        if seen.running is not None:
            yield "running", "true" if seen.running else "false"

    def every(self, host: Observer) -> list[str]:
        """Every service that has a unit file."""
        found: set[str] = set()
        for place in units.PLACES:
            with suppress(HostError):
                found |= {name for name in host.names(place) if name.endswith(SUFFIX) and "@" not in name}
        return sorted(found)

    def given_back(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """Freshness is never given back; it is derived."""
        return field != FRESH, origin

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """Settings and enablement as for every kind; then what the process needs."""
        address, wish = target.address, target.wish
        try:
            seen = self.read(host, address.name)
        except HostError as error:
            return Proposal(target, Absent(), Absent(), blocked=Unknown(str(error), unknown=isinstance(error, Unseen)))
        if not isinstance(seen, DaemonState):
            return Proposal(target, Absent(), Absent(), blocked=seen if isinstance(seen, Unknown) else None)
        if isinstance(wish, Daemon) and (reason := self._hindrance(host, seen, wish, address, context)):
            if not seen.found and wish.optional:
                return Proposal(target, seen, seen)
            return Proposal(target, seen, seen, blocked=Unknown(reason, unknown=False))
        depends = self._depends(target, seen)
        ident = dict(seen.process) if seen.process else None
        if seen.running and context.outdated(address, depends, ident):
            seen = seen.model_copy(update={"stale": True})
        values = self.values(host, target, seen, context)
        after = self.patch(seen, values)
        assert isinstance(after, DaemonState)
        changes = [c for c in self.diff(seen, after) if c.field not in (RUNNING, FRESH)]
        steps = self._steps(host, target, seen, after, changes, depends, context)
        notes = (
            ("pending boot: only files and enablement are set in a root directory",) if steps and not host.live else ()
        )
        found = Proposal(target, seen, after, steps, notes=notes)
        wished = target.wish.wishes(seen) if target.wish else {}
        conflicts = self.conflicts(found, [f for f in target.recorded if f not in wished]) if steps else []
        if seen.strange and any(s.verb == "change" for s in steps):
            conflicts.append(
                Conflict(address, ("drop_in",), None, f"lines that are not ours in {drop_in(address.name)}")
            )
        return with_(found, conflicts=tuple(conflicts))

    def _hindrance(self, host: Observer, seen: DaemonState, wish: Daemon, address: Address, context: Context) -> str:
        if not seen.found:
            return f"this host has no service {address.name}; install the agent first, or say 'optional: true'"
        if seen.masked:
            return f"{address.name} is masked; 'systemctl unmask {address.name}' first, or leave it out"
        if wish.enabled and not seen.links and not seen.installable:
            return f"{address.name} has no [Install] section, so it cannot be enabled; leave 'enabled' out"
        if seen.strange:
            return f"{drop_in(address.name)} holds lines that are not ours; move them to a file of another name"
        wanted = wish.settings()
        if wanted and not seen.systemd:
            return (
                f"{address.name} is an init script and this host has no systemd: the script decides whom it runs "
                "as. Set it in the script's own configuration with a file: resource"
            )
        for field, key in SETTINGS.items():
            if field in wanted and key in seen.winner and not same_setting(field, seen.effective[key], wanted[field]):
                return f"{seen.winner[key]} sets {key} after our drop-in and wins; remove that line, or its file"
        if wish.run_as:
            names = Names(host)
            for kind, name in (("account", wish.run_as.user), ("group", wish.run_as.group)):
                comes = context.comes(Address(kind, name)) if name else True
                known = name and (names.uid(name) if kind == "account" else names.gid(name)) is not None
                if name and not (known if comes is None else comes):
                    return absent(kind, str(name))
        return ""

    def _depends(self, target: Target, seen: DaemonState) -> frozenset[Address]:
        """What calls for a restart when it changes: what is named, its account, and its own settings."""
        wish = target.wish
        words = [*(wish.restart_on if isinstance(wish, Daemon) else ()), *target.options.get("restart_on", ())]
        named = set(map(kinds().address, words))
        user = seen.effective.get("User")
        return frozenset(named | ({Address("account", user)} if user else set()))

    def _steps(
        self,
        host: Observer,
        target: Target,
        seen: DaemonState,
        after: DaemonState,
        changes: list[Change],
        depends: frozenset[Address],
        context: Context,
    ) -> tuple[Step, ...]:
        address = target.address
        settings = tuple(c for c in changes if c.field in SETTINGS)
        enabling = tuple(c for c in changes if c.field == ENABLED)
        steps: list[Step] = []
        if settings:
            steps.append(Step("change", settings))
        if enabling:
            steps.append(Step("enable" if after.links else "disable", enabling))
        if seen.running is None:
            return tuple(steps)
        moving = any(
            context.hands_over(tree) and self._runs_from(host, address.name, tree.name) for tree in context.targets
        )
        stop = Change(RUNNING, True, False, (True, False))
        start = Change(RUNNING, False, True, (False, True))
        wanted_on = after.running
        if address in context.paused and not seen.running:
            resume = with_(start, before=False)
            return (*steps, Step("start", (resume,), pause=True)) if wanted_or(target, True) else tuple(steps)
        if seen.running and not wanted_on:
            return (Step("stop", (stop,)), *steps)
        if not seen.running:
            return (*steps, Step("start", (start,))) if wanted_on else tuple(steps)
        if moving:
            return (Step("stop", (stop,), pause=True), *steps, Step("start", (start,), pause=True))
        due = seen.stale or bool(seen.misfit) or bool(settings) or any(context.changes(a, target) for a in depends)
        if due:
            # The old process is named, so that a crash before the restart is not taken for the restart.
            old = {"process": dict(seen.process) if seen.process else None}
            steps.append(Step("restart", (Change(FRESH, old, True, (False, True)),)))
        return tuple(steps)

    def _runs_from(self, host: Observer, name: str, top: str) -> bool:
        if any(inside(path, top) for path in units.load(host, name).programs()):
            return True
        return any(p.cgroup.endswith("/" + name) for p in running_from(host, top))

    def write(self, host: Host, name: str, state: State) -> None:
        """Bring drop-in and links to this state; processes are left alone."""
        if not isinstance(state, DaemonState):
            return
        now = self.read(host, name)
        changed = False
        path = drop_in(name)
        if isinstance(now, DaemonState) and dict(now.ours) != dict(state.ours):
            self._write_drop_in(host, path, now, state)
            changed = True
        if not state.ours:
            for directory in reversed(state.missing):
                if not host.rmdir(directory):
                    break
        links = dict(state.links)
        if isinstance(now, DaemonState) and "" in links:
            links = units.enabling(host, units.load(host, name))
            if not links:
                raise HostError(f"{name}: its unit has no [Install] section, so it cannot be enabled")
        if isinstance(now, DaemonState) and dict(now.links) != links:
            self._write_links(host, dict(now.links), links, state.bare)
            changed = True
        if changed and host.live and state.systemd:
            call(host, "daemon-reload")

    def _write_drop_in(self, host: Host, path: str, now: DaemonState, state: DaemonState) -> None:
        if not state.ours:
            host.remove(path)
            return
        top = host.stat("/")
        uid, gid = (top.uid, top.gid) if top else (0, 0)
        for directory in now.missing:
            host.mkdir(directory, 0o755, uid, gid)
        host.replace(path, File(drop_in_text(state.ours), 0o644, uid, gid, {}, state.mtime))

    def _write_links(self, host: Host, now: dict[str, str], wanted: dict[str, str], bare: Sequence[str]) -> None:
        top = host.stat("/")
        for path in now:
            if path not in wanted:
                host.remove(path)
        for path, target in wanted.items():
            if now.get(path) == target:
                continue
            directory = path.rsplit("/", 1)[0]
            if host.stat(directory) is None:
                host.mkdir(directory, 0o755, top.uid if top else 0, top.gid if top else 0)
            host.symlink(path, Link(target, top.uid if top else 0, top.gid if top else 0))
        if not wanted:
            for directory in bare:
                host.rmdir(directory)

    def record(
        self,
        host: Observer,
        found: Proposal,
        step: Step,
        vault: Vault,
    ) -> tuple[tuple[Change, ...], Json]:
        """The changes; a link to be made is recorded as it will be."""
        changes = step.changes
        if step.verb == "enable" and changes[0].after["links"].keys() == {""}:
            links = units.enabling(host, units.load(host, found.target.address.name))
            changes = (with_(changes[0], after={"links": links, "is": True}),)
        return changes, {"absent": False, "state": found.before.model_dump(mode="json")}

    def perform(
        self,
        host: Host,
        found: Proposal,
        step: Step,
        changes: Sequence[Change],
        vault: Vault,
    ) -> list[tuple[str, str]]:
        """Write files, or call the init system and wait until the process is what it should be."""
        name = found.target.address.name
        if step.verb in ("start", "stop", "restart"):
            seen = found.before
            if isinstance(seen, DaemonState) and not seen.systemd:
                sysv(host, name, step.verb)
            else:
                call(host, step.verb, name)
            return []
        self.write(host, name, self.patch(found.before, {c.field: c.after for c in changes}))
        return []

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """Settings by the files; running and fresh by a process that stays up and is what its unit says."""
        files = [c for c in changes if c.field not in (RUNNING, FRESH)]
        if problem := super().reached(host, name, files, vault) if files else "":
            return problem
        if host.stat(drop_in(name)) is None and (problem := empty_left(host, [c.after for c in files])):
            return problem
        wanted = next((bool(c.after) for c in changes if c.field in (RUNNING, FRESH)), None)
        if any(c.field == FRESH and self._same_process(host, name, c.before) for c in changes):
            return f"{name} still has the process that it had before"
        return "" if wanted is None else self._settled(host, name, wanted)

    def _same_process(self, host: Observer, name: str, before: Json) -> bool:
        """Whether the process of before a restart is still the one that runs."""
        old = before.get("process") if isinstance(before, dict) else None
        seen = self.read(host, name)
        return (
            old is not None and isinstance(seen, DaemonState) and bool(seen.running) and dict(seen.process or {}) == old
        )

    def _settled(self, host: Observer, name: str, wanted: bool) -> str:
        """Watch until the service has been as wanted three times running; ten seconds at most."""
        steady, problem, last = 0, "", None
        for _ in range(PATIENCE):
            seen = self.read(host, name)
            if not isinstance(seen, DaemonState):
                return "its state cannot be seen"
            if bool(seen.running and seen.up) != wanted:
                problem = self._why_down(host, name, seen) if wanted else f"{name} still runs"
            else:
                problem = seen.misfit if wanted else ""
            if not problem and (seen.process == last or not wanted):
                steady += 1
            else:
                steady = 0
            last = seen.process
            if steady >= (STEADY if wanted else 1):
                return ""
            time.sleep(0.1)
        return problem or f"{name} keeps restarting; see journalctl -u {name}"

    def _why_down(self, host: Observer, name: str, seen: DaemonState) -> str:
        if not seen.systemd:
            return f"{name} does not run"
        told = units.show(host, name)
        return (
            f"{name} does not stay up (result {told.get('Result')}, exit status {told.get('ExecMainStatus')}); "
            f"see journalctl -u {name}"
        )

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """Files as for every kind; a daemon that was running is started again, one that was stopped is stopped."""
        files = [c for c in changes if c.field not in (RUNNING, FRESH)]
        if files and (problem := super().put_back(host, name, files, image, vault)):
            return problem
        for change in changes:
            if change.field in (RUNNING, FRESH):
                was = bool(change.before) if change.field == RUNNING else True
                seen = self.read(host, name)
                if isinstance(seen, DaemonState) and bool(seen.running) != was:
                    if seen.systemd:
                        call(host, "start" if was else "stop", name)
                    else:
                        sysv(host, name, "start" if was else "stop")
                if change.field == RUNNING and (problem := self._settled(host, name, was)):
                    return problem
                if change.field == FRESH and not self._same_process(host, name, change.before):
                    return self._settled(host, name, True) or "it was restarted, which cannot be undone"
        return ""


def wanted_or(target: Target, default: bool) -> bool:
    """Whether the daemon is to run after a pause: as declared, else as it was found."""
    wish = target.wish
    return wish.running if isinstance(wish, Daemon) and wish.running is not None else default


def same_setting(field: Field, now: str, wanted: str) -> bool:
    """Whether a setting counts as wanted; root is what an empty user means."""
    if field == ("run_as", "user"):
        return (now or "root") == (wanted or "root")
    if field in (("supplementary_groups",), ("ambient_capabilities",)):
        return set(now.split()) == set(wanted.split())
    return now == wanted


KIND = DaemonKind()
