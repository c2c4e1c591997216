"""The desired state that is for a host, as a run needs it: its documents, goals, and what they say of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.goals import Goals, from_desired
from ..core.options import Options
from ..core.plan import DEPLOYMENT, Blocked, Plan
from ..desired.checks import between
from ..desired.documents import contents_of, parse
from ..desired.secrets import conceal, reveal, secrets
from ..engine.survey import Surveyor, facts, refusal
from ..errors import Mistake, Mistakes, Refused
from ..host.port import Observer
from ..model import Address, Json
from .guards import foresee
from .run import Reach


class Request(Reach):
    """The aim of a run that brings about the desired state that is for this host."""

    def __init__(
        self,
        observer: Observer,
        paths: tuple[str, ...],
        *,
        prune: bool = False,
        contents: Mapping[str, bytes] | None = None,
        origin: Json = None,
        for_host: str | None = None,
        verb: str = "apply",
        options: Options | None = None,
    ) -> None:
        """What the files ask of a host.

        ``contents``: of files that were read before, in place of the paths.
        ``origin``: the repository, ref, commit and signer that they are from.
        ``for_host``: the name by which the host is taken, in place of its own.
        """
        self.verb, self.options = verb, options or Options()
        mistakes: list[Mistake] = []
        texts = contents_of(paths or ("desired",), mistakes) if contents is None else contents
        self.facts = {**facts(observer), **({"hostname": for_host} if for_host else {})}
        self.origin, self.prune = origin, prune
        self.commit = origin["commit"] if origin else None
        self.desired = parse(texts, mistakes, facts=self.facts, commit=self.commit)
        self.without: frozenset[str] = frozenset()
        """Deployments that are left out, whatever the files say."""
        self.documents: list[Any] = []
        self.unknown: list[Any] = []
        self._agreed: list[Any] = []
        """The documents that were found not to contradict each other."""
        self._made: tuple[tuple[Any, ...], Goals] | None = None

    def prepare(self, surveyor: Surveyor) -> tuple[Any, Json, Mapping[str, Json]]:
        """The goals of the documents that fit this host."""
        known = self.desired.inventory.known(self.facts)
        fits = {d.source: d.fits(known) for d in self.desired.documents}
        self.documents = [d for d in self.desired.documents if fits[d.source] and d.name not in self.without]
        self.unknown = [d for d in self.desired.documents if fits[d.source] is None]
        if self._agreed != self.documents:
            problems: list[Any] = []
            between(self.documents, problems, same_host=True)
            if problems:
                raise Mistakes(problems)
            self._agreed = list(self.documents)
        (conceal if surveyor.host.recorded else reveal)(self.documents)
        if self.prune and not self.documents:
            raise Refused("--prune would leave no deployment at all; use 'reconciler uninstall NAME' for that")
        goals = self._goals(surveyor)
        files = [{"path": path, "sha256": digest} for path, digest in sorted(self.desired.files.items())]
        said = {"commit": self.commit, "files": files}
        names = [*(d.name for d in self.documents), *goals.pruned]
        more = {"commit": self.commit, "origin": self.origin} if self.origin else {}
        return goals, said, {"deployments": names, "desired": said, **more}

    def _goals(self, surveyor: Surveyor) -> Goals:
        """The goals of the documents; made anew only where these, a secret or the log are others than last time."""
        ledger, undecided = surveyor.ledger, frozenset(d.name for d in self.unknown)
        read = tuple(secret.seen for secret in secrets(self.documents))
        key = (ledger.seq, ledger.head, undecided, read, *map(id, self.documents))
        if self._made is None or self._made[0] != key:
            made = from_desired(self.documents, ledger, surveyor.unseal, undecided=undecided, prune=self.prune)
            self._made = (key, made)
        goals = self._made[1]
        # A survey changes these.
        return replace(goals, joins=[*goals.joins], leaves=[*goals.leaves], inherits=[*goals.inherits])

    def examine(self, surveyor: Surveyor, plan: Plan) -> None:
        """What the documents can say, and what their policies forbid."""
        self.hindered(surveyor, plan)
        changed = {t.address for t in plan.transitions}
        for wished in (each for document in self.documents for each in document.resources):
            if wished.resource.address in changed:
                plan.notes += (f"{wished.resource.address}: {what}; {hint}" for what, hint in wished.resource.unread())
        foresee(surveyor, plan, self.documents)

    def hindered(self, surveyor: Surveyor, plan: Plan) -> None:
        """What only the documents can say: unreadable facts, and modes without a way back."""
        for document in self.unknown:
            reason = f"is deployment {document.name!r} for this host? A fact of its match cannot be read"
            plan.blocked.append(Blocked(Address(DEPLOYMENT, document.name), reason, True, document.source.json()))
        for document in self.documents:
            found = refusal(surveyor.host, document, surveyor.ledger)
            if found is not None:
                plan.blocked.append(found)
