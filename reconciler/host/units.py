"""Units and init scripts as files: what is set, where it comes from, and which links enable it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import HostError
from ..model import Field
from .port import Observer, Type

PLACES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
ETC = PLACES[0]
OURS = "reconciler.conf"
LISTS = {"SupplementaryGroups", "AmbientCapabilities"}
SETTINGS: dict[Field, str] = {
    ("run_as", "user"): "User",
    ("run_as", "group"): "Group",
    ("supplementary_groups",): "SupplementaryGroups",
    ("ambient_capabilities",): "AmbientCapabilities",
}
HEAD = "# Written by reconciler; 'reconciler history' says why.\n[Service]\n"


@dataclass
class Unit:
    """One service as its files describe it."""

    name: str
    fragment: str | None = None
    script: str | None = None
    masked: bool = False
    settings: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Every assignment in order: section, key, value, path of the file."""

    @property
    def found(self) -> bool:
        """Whether the host has it at all."""
        return self.fragment is not None or self.script is not None

    def last(self, section: str, key: str, *, without: str | None = None) -> tuple[str, str] | None:
        """The value that counts and the file it stands in; ``without`` leaves one file out."""
        found = [(v, p) for s, k, v, p in self.settings if (s, k) == (section, key) and p != without]
        return found[-1] if found else None

    def merged(self, section: str, key: str, *, without: str | None = None) -> list[str]:
        """A list setting: every assignment adds, an empty one starts anew."""
        words: list[str] = []
        for s, k, value, path in self.settings:
            if (s, k) == (section, key) and path != without:
                words = [*words, *value.split()] if value.strip() else []
        return words

    def programs(self) -> list[str]:
        """The programs and scripts that the service starts."""
        lines = [v for s, k, v, _ in self.settings if s == "Service" and k.startswith("ExecStart")]
        paths = [word.lstrip("-@:+!") for line in lines for word in line.split()]
        return [path for path in paths if path.startswith("/")] + ([self.script] if self.script else [])


def parse(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of every assignment in a unit file."""
    section, pending = "", ""
    for raw in text.splitlines():
        line = raw.strip()
        if pending and line[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        line, pending = (pending + line).strip(), ""
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()


def has_systemd(host: Observer) -> bool:
    """Whether systemd is this host's init system: running, or for a root directory installed."""
    if host.live:
        return host.stat("/run/systemd/system") is not None
    return any(host.stat(f"{top}/lib/systemd/systemd") is not None for top in ("/usr", "")) or any(
        host.stat(place) is not None for place in PLACES
    )


def load(host: Observer, name: str) -> Unit:
    """Read a unit with its drop-ins, or the init script of that name."""
    unit = Unit(name)
    base = name.removesuffix(".service")
    if host.stat(f"/etc/init.d/{base}") is not None:
        unit.script = f"/etc/init.d/{base}"
    template = re.sub(r"@.*\.", "@.", name) if "@" in name else None
    for wanted in filter(None, (name, template)):
        for place in PLACES:
            path = f"{place}/{wanted}"
            there = host.stat(path)
            if there is None or unit.fragment:
                continue
            if there.type == Type.LINK and host.readlink(path) == "/dev/null":
                unit.masked, unit.fragment = True, path
                continue
            file = host.read(path)
            if file is not None:
                unit.fragment = path
                _add(unit, path, file.data)
    for path in drop_ins(host, name, template):
        file = host.read(path) if _is_file(host, path) else None
        if file is not None:
            _add(unit, path, file.data)
    return unit


def comes_later(path: str) -> bool:
    """Whether a file is a drop-in whose name puts it after ours."""
    directory, _, name = path.rpartition("/")
    return directory.endswith(".d") and name > OURS


def _is_file(host: Observer, path: str) -> bool:
    """Whether a drop-in counts: a link to /dev/null masks the files of its name."""
    there = host.stat(path)
    return there is not None and not (there.type == Type.LINK and host.readlink(path) == "/dev/null")


def _add(unit: Unit, path: str, data: bytes) -> None:
    unit.settings += [(s, k, v, path) for s, k, v in parse(data.decode("utf-8", "replace"))]


def drop_ins(host: Observer, name: str, template: str | None = None) -> list[str]:
    """The drop-ins of a unit in the order in which they count: by file name, /etc hiding its namesakes."""
    stem, _, suffix = name.rpartition(".")
    parts = stem.split("-")
    levels = [f"{suffix}.d", *(f"{'-'.join(parts[:n])}-.{suffix}.d" for n in range(1, len(parts)))]
    levels += [f"{template}.d"] if template else []
    levels.append(f"{name}.d")
    chosen: dict[str, str] = {}
    for level in reversed(levels):
        for place in PLACES:
            for file in host.names(f"{place}/{level}"):
                if file.endswith(".conf"):
                    chosen.setdefault(file, f"{place}/{level}/{file}")
    return [chosen[file] for file in sorted(chosen)]


def enabling(host: Observer, unit: Unit) -> dict[str, str]:
    """The links that enabling this unit makes: path → target."""
    links: dict[str, str] = {}
    if unit.fragment is None:
        return sysv_links(host, unit)
    for section, key, value, path in unit.settings:
        if section != "Install" or path != unit.fragment:
            continue
        for word in value.split():
            if key in ("WantedBy", "RequiredBy", "UpheldBy"):
                kind = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}[key]
                links[f"{ETC}/{word}.{kind}/{unit.name}"] = unit.fragment
            elif key == "Alias":
                links[f"{ETC}/{word}"] = unit.fragment
    return links


def sysv_links(host: Observer, unit: Unit) -> dict[str, str]:
    """The run-level links of an init script, as its LSB header asks for."""
    base = unit.name.removesuffix(".service")
    file = host.read(unit.script) if unit.script else None
    head = (file.data if file else b"").decode("utf-8", "replace")
    links = {}
    for key, letter, fallback in (("Default-Start", "S", "2 3 4 5"), ("Default-Stop", "K", "0 1 6")):
        match = re.search(rf"^#\s*{key}:(.*)$", head, re.MULTILINE)
        for level in (match[1] if match else fallback).split():
            links[f"/etc/rc{level}.d/{letter}01{base}"] = f"../init.d/{base}"
    return links


def enabled_links(host: Observer, unit: Unit) -> dict[str, str]:
    """The links that enable this unit now."""
    found: dict[str, str] = {}
    if unit.fragment is None or unit.fragment.startswith("/run/systemd/generator"):
        base = unit.name.removesuffix(".service")
        for level in "0123456S":
            for name in host.names(f"/etc/rc{level}.d"):
                if re.fullmatch(rf"[SK]\d\d{re.escape(base)}", name):
                    path = f"/etc/rc{level}.d/{name}"
                    found[path] = host.readlink(path)
        return found if any(path.rsplit("/", 1)[1].startswith("S") for path in found) else {}
    for directory in host.names(ETC):
        if directory.endswith((".wants", ".requires", ".upholds")):
            path = f"{ETC}/{directory}/{unit.name}"
            there = host.stat(path)
            if there is not None and there.type == Type.LINK:
                found[path] = host.readlink(path)
    for path, target in enabling(host, unit).items():
        there = host.stat(path)
        if path not in found and there is not None and there.type == Type.LINK and host.readlink(path) == target:
            found[path] = target
    return found


def show(host: Observer, name: str) -> dict[str, str]:
    """What the running systemd says of a unit."""
    keys = "LoadState,ActiveState,SubState,MainPID,NeedDaemonReload,Result,ExecMainStatus,User,Group"
    result = host.query(["systemctl", "show", "--no-pager", "-p", keys, name])
    if result.code != 0:
        raise HostError(f"systemctl show {name}: {result.err.strip() or result.code}")
    return dict(line.split("=", 1) for line in result.out.splitlines() if "=" in line)


def drop_in(name: str) -> str:
    """The path of our drop-in."""
    return f"{ETC}/{name}.d/{OURS}"


def drop_in_text(ours: Mapping[str, str]) -> bytes:
    """Our drop-in's bytes."""
    lines: list[str] = []
    for key in SETTINGS.values():
        if key in ours:
            # An empty assignment first: lists add up otherwise.
            lines += [f"{key}="] if key in LISTS and ours[key] else []
            lines.append(f"{key}={ours[key]}")
    return (HEAD + "\n".join(lines) + "\n").encode()


def strange(host: Observer, path: str, ours: Mapping[str, str]) -> bool:
    """Whether our drop-in is not as we write it."""
    file = host.read(path)
    return file is not None and file.data != drop_in_text(ours)
