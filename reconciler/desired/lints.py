"""Lints of the desired state: what is allowed and seldom meant.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..errors import Mistake
from ..kinds.file import File
from ..kinds.ini import SECRET_KEY, Ini
from ..kinds.mapping import RscdMapping
from ..kinds.tree import Tree
from ..model import Resource
from ..modes import apply_mode
from .documents import Document

SUDOERS = re.compile(r"^/etc/sudoers(\.d/.*)?$")


def lints(documents: Iterable[Document]) -> list[Mistake]:
    """Everything that somebody should look at twice, in the order of the files."""
    found = set()
    for document in documents:
        for wished in document.resources:
            for text, hint in _of(wished.resource):
                at = wished.source
                found.add(Mistake(at.file, at.line, at.column, f"{wished.resource.address}: {text}", hint))
    return sorted(found)


def _of(resource: Resource) -> Iterator[tuple[str, str]]:
    for field in () if isinstance(resource, RscdMapping) else ("mode", "file_mode", "directory_mode"):
        spec = getattr(resource, field, None)
        if isinstance(spec, str):
            directory = field == "directory_mode"
            mode = apply_mode(spec, 0, directory=directory)
            if mode & 0o002 and not (directory and mode & 0o1000):
                yield f"{field} {spec} lets everybody write", "leave 'o=w' away"
            if mode & 0o6000 and not directory:
                yield f"{field} {spec} is setuid or setgid", "it runs as its owner for everybody; is that meant?"
    if isinstance(resource, Ini):
        for section, keys in resource.set.items():
            for key, value in keys.items():
                if isinstance(value, str) and value and SECRET_KEY.search(key):
                    yield f"[{section}] {key} stands here in clear", "write {secret: true, from: {file: …}}"
    if isinstance(resource, File) and SUDOERS.match(resource.name) and resource.content is not None:
        if not resource.validate_with:
            yield "a mistake in it locks everybody out of sudo", "add 'validate: visudo -cf {}'"
        if "NOPASSWD: ALL" in str(resource.content):
            yield "NOPASSWD: ALL makes the account root", "name the commands"
    if isinstance(resource, Tree):
        for path, capability in resource.capabilities.items():
            if re.search(r"cap_(sys_admin|setuid|setgid|dac_override|sys_ptrace|sys_module)", str(capability)):
                yield f"{capability} on {path} is as much as root", "take a smaller capability"
        if resource.allow_protected:
            yield "is a protected path", "name the agent's own directory"
    if isinstance(resource, RscdMapping) and resource.fallback == "root":
        yield "whoever has no line becomes root", "name a fallback without rights, as in 'fallback: nobody'"
