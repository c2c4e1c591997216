"""The languages of lines that are called ini: what each takes for a key, a remark and a continuation.  Pure.

Facts of the readers: Python's configparser, systemd.syntax(7), git-config(1), hgrc(5), java.util.Properties and the
``key=value`` files of daemons, php.ini, my.cnf, smb.conf(5).  ``ini`` is what most readers agree upon.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

BLANK = re.compile(r"^\s*$")
QUOTED = re.compile(r"""\s*("[^"\r\n]*"|'[^'\r\n]*')""")


@dataclass(frozen=True)
class Dialect:
    """One such language."""

    name: str
    delimiters: str = "="
    comments: str = "#;"
    """What the line of a comment begins with."""
    remark: str = ""
    """How a comment behind a value looks, as an expression; empty where there is none."""
    sections: bool = True
    repeats: bool = False
    """Whether a key that stands several times is a list."""
    bare: bool = False
    """Whether a word alone is a key."""
    indented: bool = False
    """Whether a deeper line belongs to the value above it."""
    greedy: bool = False
    """Whether it does so whatever it looks like; else only where the line above is open or it looks like no key."""
    joined: str = ""
    """How a line ends that goes on in the next, as an expression."""
    interrupted: bool = False
    """Whether comments may stand between lines that are joined."""
    fold: Callable[[str], str] = str
    """What is the same for names of keys that mean the same."""
    fold_section: Callable[[str], str] = str

    @cached_property
    def comment(self) -> re.Pattern[str]:
        """The line of a comment."""
        return re.compile(rf"^[ \t]*[{re.escape(self.comments)}]")

    @cached_property
    def header(self) -> re.Pattern[str]:
        """The line that begins a section; its name may hold brackets."""
        end = rf"[ \t]*(?:[{re.escape(self.comments)}].*)?[\r\n]*$"
        return re.compile(rf"^[ \t]*\[(?:(?P<name>[^\r\n]*?)\]{end}|(?P<junk>[^\]\r\n]*)\])")

    @cached_property
    def key(self) -> re.Pattern[str]:
        """The line of a key, as one would write it."""
        marks, first = re.escape(self.delimiters), re.escape(self.delimiters + self.comments)
        return re.compile(rf"^(?P<indent>[ \t]*)(?P<key>[^\s{first}\[][^{marks}\r\n]*?)(?P<gap>[ \t]*[{marks}][ \t]*)")

    @cached_property
    def prefix(self) -> re.Pattern[str]:
        """The line of a key, as a reader takes it, up to its value."""
        marks = re.escape(self.delimiters)
        return re.compile(rf"^[ \t]*(?P<key>[^{marks}\r\n]*?)[ \t]*[{marks}][ \t]*")

    @cached_property
    def word(self) -> re.Pattern[str]:
        """The line of a key without a value."""
        marks, first = re.escape(self.delimiters), re.escape(self.delimiters + self.comments)
        return re.compile(
            rf"^[ \t]*(?P<key>[^\s{first}\[][^{marks}\r\n{re.escape(self.comments)}]*?)[ \t]*(?=[\r\n]|$)"
        )

    @cached_property
    def behind(self) -> re.Pattern[str] | None:
        """The comment behind a value."""
        return re.compile(self.remark) if self.remark else None

    @cached_property
    def goes_on(self) -> re.Pattern[str] | None:
        """The end of a line that goes on in the next."""
        return re.compile(self.joined + r"[\r\n]*$") if self.joined else None

    def head(self, row: str) -> re.Match[str] | None:
        """The key that begins in a line, up to its value; None where none does."""
        if self.comment.match(row):
            return None
        return self.prefix.match(row) or (self.word.match(row) if self.bare else None)

    def span(self, rows: Sequence[str], index: int) -> int:
        """How many lines the key has that begins in one."""
        depth, count = self.depth(rows[index]), 1
        on, opened = self._on(rows[index]), self.opened(rows[index])
        while index + count < len(rows):
            row = rows[index + count]
            if on:
                count, on = count + 1, self._on(row) or (self.interrupted and bool(self.comment.match(row)))
                continue
            ahead = count
            while self.greedy and index + ahead < len(rows) and self._skipped(rows[index + ahead]):
                ahead += 1
            if index + ahead == len(rows) or not self.continues(rows[index + ahead], depth, opened=opened):
                break
            count, row = ahead + 1, rows[index + ahead]
            on, opened = self._on(row), opened if not self._value(rows[index]) else self.opened(row)
        return count

    def depth(self, row: str) -> int:
        """How deep a line is; readers that look at nothing else count a tab as one blank."""
        wide = row if self.greedy else row.expandtabs(8)
        return len(wide) - len(wide.lstrip(" \t"))

    def opened(self, row: str) -> bool:
        """Whether the value in a line is not at its end: it is empty, or ends in a comma or backslash."""
        value = self._value(row)
        return not value or value[-1] in ",\\"

    def continues(self, row: str, depth: int, *, opened: bool = False) -> bool:
        """Whether a line belongs to the value of a key that is indented so far."""
        if not self.indented or self.depth(row) <= depth or self._skipped(row):
            return False
        return self.greedy or not (self.header.match(row) or (self.key.match(row) and not opened))

    def _skipped(self, row: str) -> bool:
        return bool(BLANK.match(row) or self.comment.match(row))

    def _value(self, row: str) -> str:
        head = self.prefix.match(row)
        return row[head.end() if head else 0 :].strip()

    def _on(self, row: str) -> bool:
        return bool(self.goes_on and self.goes_on.search(row))

    def unreadable(self, value: str) -> str:
        """Why a reader would take a value for another one; empty where it would not."""
        if value != value.strip(" \t"):
            return "begins or ends with a blank, which readers leave out"
        quote = QUOTED.match(value)
        if self.behind and self.behind.search(" " + value, 1 + quote.end() if quote else 0):
            return "holds what readers take for a remark"
        if self.goes_on and self.goes_on.search(" " + value):
            return "ends in a backslash, by which readers go on in the next line"
        return ""


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _closed_up(name: str) -> str:
    return "".join(name.casefold().split())


INI = Dialect("ini", "=:", indented=True, remark=r"[ \t]+[;#](?=[ \t]|[\r\n]*$).*$", joined=r"\s\\")
DIALECTS = {
    one.name: one
    for one in (
        INI,
        Dialect("configparser", "=:", indented=True, greedy=True, fold=str.casefold),
        Dialect("systemd", repeats=True, joined=r"\\", interrupted=True),
        Dialect("git", remark=r"[ \t]*[;#].*$", repeats=True, bare=True, joined=r"\\", fold=str.casefold),
        Dialect("hg", indented=True, greedy=True),
        Dialect("properties", "=:", comments="#!;", sections=False, repeats=True, joined=r"\\"),
        Dialect("php", comments=";", remark=r"[ \t]*;.*$", repeats=True, bare=True),
        Dialect("mysql", comments="#;!", remark=r"[ \t]*#.*$", repeats=True, bare=True, fold=_hyphens),
        Dialect("samba", joined=r"\\", fold=_closed_up, fold_section=str.casefold),
    )
}
"""By the word that `dialect:` takes."""

UNITS = r"service|socket|timer|mount|automount|target|path|slice|scope|swap|device|network|netdev|link|nspawn|dnssd"
NAMES = (
    (re.compile(rf"\.(?:{UNITS})$|/(?:systemd|[^/]+\.(?:{UNITS})\.d)/(?:.*/)?[^/]+\.conf$"), "systemd"),
    (re.compile(r"/(?:\.gitconfig|gitconfig|\.gitmodules|\.git/config|git/config)$"), "git"),
    (re.compile(r"/(?:\.hgrc|hgrc|mercurial\.ini)$|/(?:mercurial|hgrc\.d)/.*\.rc$"), "hg"),
    (re.compile(r"\.properties$|/etc/(?:default|sysconfig)/[^/]+$|/(?:os-release|environment)$"), "properties"),
    (re.compile(r"/php[^/]*\.ini$|/php[^/]*/(?:.*/)?[^/]+\.(?:ini|conf)$|/\.user\.ini$"), "php"),
    (re.compile(r"/\.?my\.cnf$|/(?:mysql|mariadb|my\.cnf\.d)[^/]*/(?:.*/)?[^/]+\.cnf$"), "mysql"),
    (re.compile(r"/smb\.conf$|/samba/(?:.*/)?[^/]+\.conf$"), "samba"),
    (
        re.compile(r"/(?:setup\.cfg|tox\.ini|supervisord\.conf|alembic\.ini|pip\.conf|\.pypirc|pytest\.ini)$"),
        "configparser",
    ),
    (re.compile(r"/supervisor/conf\.d/[^/]+\.conf$"), "configparser"),
)
UNIT_HEADER = re.compile(
    r"^\[(?:Unit|Service|Install|Socket|Timer|Mount|Path|Slice|Match|Manager|Journal|Login)\][ \t\r]*$", re.M
)
GIT_HEADER = re.compile(r'^[ \t]*\[[\w.-]+ "[^"\n]*"\]', re.M)

OTHERS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".xml": "XML", ".toml": "TOML", ".plist": "XML"}
MARKUP = re.compile(r"<[!?A-Za-z]")
BRACED = re.compile(r"\{|\[\s*[{\"]|\[[ \t\r]*\n")
DOCUMENT = re.compile(r"%YAML|---[ \t\r]*\n")
TABLES = re.compile(r"^[ \t]*\[\[[^\[\]\n]+\]\][ \t\r]*(?:#.*)?$", re.M)
OPENED = re.compile(r"^[ \t]*[\w.\"'-]+[ \t]*=[ \t]*(?P<value>(?:\"\"\"|'''|[\[{]).*)$", re.M)
MAPPED = re.compile(
    r"^(?P<deep>[ ]*)(?:- )?[\w.\"'/-]+:[ \t\r]*\n(?:[ \t]*(?:#.*)?\r?\n)*(?P=deep)[ ]*(?:- |[ ]+[\w.\"'/-]+:(?:\s|$))",
    re.M,
)
TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")


def other_by_name(path: str) -> str:
    """The language that a file's name says that it is in, where that is not one of lines; else empty."""
    return next((name for suffix, name in OTHERS.items() if path.endswith(suffix)), "")


def other_language(path: str, text: str) -> str:
    """The language that a file is in, where that is not one of lines, by its name or by what stands there."""
    if name := other_by_name(path):
        return name
    body = re.sub(r"\A(?:\s*(?:#[^\n]*)?\n)*[ \t]*", "", text)
    if MARKUP.match(body):
        return "XML"
    if BRACED.match(body):
        return "JSON"
    if DOCUMENT.match(body):
        return "YAML"
    if TABLES.search(text) or any(map(_left_open, OPENED.finditer(text))):
        return "TOML or the like"
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#;["]
    plain = any("=" in line.partition(":")[0] for line in lines)
    return "YAML" if not plain and MAPPED.search(text) else ""


def _left_open(match: re.Match[str]) -> bool:
    """Whether a value opens something that its line does not close."""
    value = match["value"]
    if value[:3] in ('"""', "'''"):
        return value.count(value[:3]) == 1
    bare = TEXT.sub("", value).partition("#")[0]
    return bare.count("[") > bare.count("]") or bare.count("{") > bare.count("}")


def guessed(path: str, text: str, sections: Iterable[str] = ()) -> Dialect:
    """The dialect of a file, by its name and by its own habit.

    ``sections``: the sections that are asked for, which decide where the file itself says nothing.
    """
    for pattern, name in NAMES:
        if pattern.search(path):
            return DIALECTS[name]
    if UNIT_HEADER.search(text):
        return DIALECTS["systemd"]
    if GIT_HEADER.search(text):
        return DIALECTS["git"]
    headed = any(INI.header.match(line) for line in text.splitlines())
    if not headed and not any(sections) and (sections or text.strip()):
        return DIALECTS["properties"]
    return INI


def habit(dialect: Dialect, lines: Iterable[str]) -> str:
    """The delimiters that a file uses, of those that its dialect has: a colon may be part of a key."""
    if dialect.delimiters != "=:":
        return dialect.delimiters
    for line in lines:
        if dialect.comment.match(line) or BLANK.match(line) or dialect.header.match(line):
            continue
        mark, rest = _split(line)
        if mark == ":" and ("=" not in rest or rest[:1] in (" ", "\t")):
            return "=:"
    return "="


@lru_cache(maxsize=64)
def reading(dialect: Dialect, delimiters: str, *, fold: bool) -> Dialect:
    """A dialect as one file is read: with the delimiters that it uses; ``fold``: whatever the case of names."""
    plain = replace(dialect, delimiters=delimiters)
    if not fold:
        return plain
    return replace(plain, fold=lambda name: dialect.fold(name).casefold(), fold_section=str.casefold)


def _split(line: str) -> tuple[str, str]:
    """The first delimiter of a line, and what stands behind it."""
    spot = next((index for index, char in enumerate(line) if char in "=:"), len(line))
    return line[spot : spot + 1], line[spot + 1 :].rstrip("\r\n")
