"""plan and apply: the desired state, shown and brought about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from .common import Place, Way, duration, located, write_fresh, writing

if TYPE_CHECKING:
    from ..engine import Engine
    from ..model import Json
    from ..plan import Plan


def addresses(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:  # noqa: ARG001
    """Addresses on the command line."""
    from ..model import Address

    for value in values:
        if ":" not in value:
            raise click.BadParameter(f"{value!r} is no address; write kind:name, as in ini:/etc/managesoft.ini")
    return tuple(Address.parse(value) for value in values)


class Wanted:
    """The desired state that is for this host, as a run needs it."""

    def __init__(
        self,
        place: Place,
        paths: tuple[str, ...],
        *,
        prune: bool = False,
        contents: Mapping[str, bytes] | None = None,
        origin: Json = None,
        for_host: str | None = None,
    ) -> None:
        """What the files ask of the host at ``place``.

        ``contents``: of files that were read before, in place of the paths.
        ``origin``: the repository, ref, commit and signer that they are from.
        ``for_host``: the name by which the host is taken, in place of its own.
        """
        from ..desired.documents import contents_of, parse
        from ..errors import Mistake
        from ..survey import facts

        mistakes: list[Mistake] = []
        texts = contents_of(paths or ("desired",), mistakes) if contents is None else contents
        self.facts = {**facts(place.observer()), **({"hostname": for_host} if for_host else {})}
        self.origin, self.prune = origin, prune
        self.commit = origin["commit"] if origin else None
        self.desired = parse(texts, mistakes, facts=self.facts, commit=self.commit)
        self.documents: list[Any] = []
        self.unknown: list[Any] = []

    def prepare(self, engine: Engine) -> tuple[Any, Json, Mapping[str, Json]]:
        """The goals of the documents that fit this host."""
        from ..errors import Mistakes, Refused
        from ..targets import from_desired

        known = self.desired.inventory.known(self.facts)
        fits = {d.source: d.fits(known) for d in self.desired.documents}
        self.documents = [d for d in self.desired.documents if fits[d.source]]
        self.unknown = [d for d in self.desired.documents if fits[d.source] is None]
        problems: list[Any] = []
        from ..desired.checks import between

        between(self.documents, problems, same_host=True)
        if problems:
            raise Mistakes(problems)
        from ..desired.secrets import conceal, reveal

        (conceal if engine.host.recorded else reveal)(self.documents)
        if self.prune and not self.documents:
            raise Refused("--prune would leave no deployment at all; use 'reconciler uninstall NAME' for that")
        goals = from_desired(
            self.documents,
            engine.ledger,
            engine.unseal,
            undecided=frozenset(d.name for d in self.unknown),
            prune=self.prune,
        )
        files = [{"path": path, "sha256": digest} for path, digest in sorted(self.desired.files.items())]
        said = {"commit": self.commit, "files": files}
        names = [*(d.name for d in self.documents), *goals.pruned]
        more = {"commit": self.commit, "origin": self.origin} if self.origin else {}
        return goals, said, {"deployments": names, "desired": said, **more}

    def examine(self, engine: Engine, plan: Plan) -> None:
        """What the documents can say, and what their policies forbid."""
        from .runs import foresee

        self.hindered(engine, plan)
        foresee(engine, plan, self.documents)

    def hindered(self, engine: Engine, plan: Plan) -> None:
        """What only the documents can say: unreadable facts, and modes without a way back."""
        from ..model import Address
        from ..plan import Blocked
        from ..survey import refusal

        for document in self.unknown:
            reason = f"is deployment {document.name!r} for this host? A fact of its match cannot be read"
            plan.blocked.append(Blocked(Address("deployment", document.name), reason, True, document.source.json()))
        for document in self.documents:
            found = refusal(engine.host, document, engine.ledger)
            if found is not None:
                plan.blocked.append(found)


@click.command()
@click.argument("paths", nargs=-1)
@located
@click.option(
    "--format", "style", default="text", help="How to print it; sarif and github name the YAML's lines.",
    type=click.Choice(["text", "json", "markdown", "github", "gitlab", "junit", "sarif", "html"]),
)  # fmt: skip
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where there are differences.")
@click.option("--all-paths", is_flag=True, help="List every path of a tree that differs.")
@click.option("--only", multiple=True, callback=addresses, metavar="ADDRESS", help="This thing and what it requires.")
@click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it.")
@click.option("--prune", is_flag=True, help="Give back deployments that are not in the input any more.")
@click.option("--snapshot", "snapshots", multiple=True, metavar="FILE…", help="Plan for the hosts that these tell of.")
@click.option("--snapshot-signers", "signers", metavar="FILE", help="Take only snapshots that somebody in it signed.")
@click.option("--for-host", metavar="NAME", help="Take the host by this name: its documents, groups and values.")
@click.option("--out", metavar="FILE", help="Save the plan, for 'apply --plan FILE' to carry out exactly this.")
@click.pass_context
def plan(
    ctx: click.Context,
    paths: tuple[str, ...],
    root: str | None,
    log_file: str | None,
    style: str,
    detailed_exitcode: bool,
    all_paths: bool,
    only: tuple[Any, ...],
    skip_blocked: bool,
    prune: bool,
    snapshots: tuple[str, ...],
    signers: str | None,
    for_host: str | None,
    out: str | None,
) -> int:
    """Show what apply would do, in order. Nothing is written on the host.

    Example: reconciler plan desired/
    """
    from ..errors import Usage
    from ..saved import save
    from ..survey import Options
    from .runs import preview

    place = Place(ctx, root, log_file)
    options = Options(all_paths=all_paths, only=only, skip_blocked=skip_blocked)
    if snapshots:
        from . import elsewhere

        if out is not None or root is not None or log_file is not None:
            raise Usage("--snapshot plans for hosts that are not here; leave --out, --root and --log away")
        # As a shell writes it: --snapshot DIR/*.json
        files = [*snapshots, *(path for path in paths if path.endswith(".json"))]
        paths = tuple(path for path in paths if not path.endswith(".json"))
        elsewhere.checked(files, signers)
        found = elsewhere.plans(files, paths, options, prune=prune, for_host=for_host)
        return elsewhere.show(found, style, detailed=detailed_exitcode)
    wanted = Wanted(place, paths, prune=prune, for_host=for_host)

    def examine(engine: Engine, found: Plan) -> None:
        wanted.examine(engine, found)
        if out is not None:
            contents = wanted.desired.contents
            text = save(found, contents, only=only, skip_blocked=skip_blocked, prune=prune)
            write_fresh("--out", out, text.encode(), 0o600)

    if for_host is not None and out is not None:
        raise Usage("--out saves a plan for this host alone; leave --for-host away")
    return preview(place, wanted.prepare, options, style, detailed=detailed_exitcode, examine=examine)


@click.command()
@click.argument("paths", nargs=-1)
@writing
@click.option("--atomic", is_flag=True, help="Where one transition fails, undo the others.")
@click.option("--max-changes", type=int, metavar="N", help="Refuse more transitions than this.")
@click.option("--max-removals", type=int, metavar="N", help="Refuse to remove more things than this.")
@click.option("--max-paths", type=int, metavar="N", help="Refuse to change more paths of trees than this.")
@click.option("--only", multiple=True, callback=addresses, metavar="ADDRESS", help="This thing and what it requires.")
@click.option("--prune", is_flag=True, help="Give back deployments that are not in the input any more.")
@click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it.")
@click.option("--plan", "plan_file", metavar="FILE", help="Carry out exactly this saved plan, at most once.")
@click.option(
    "--confirm-within", "within", metavar="TIME", callback=duration,
    help="Undo the run by itself unless 'reconciler confirm' comes within this time, as in 10m.",
)  # fmt: skip
@click.option("--rehearse", is_flag=True, help="Apply, check, roll back, and prove that all is as it was.")
def apply(
    way: Way,
    paths: tuple[str, ...],
    atomic: bool,
    max_changes: int | None,
    max_removals: int | None,
    max_paths: int | None,
    only: tuple[Any, ...],
    prune: bool,
    skip_blocked: bool,
    plan_file: str | None,
    within: float | None,
    rehearse: bool,
) -> int:
    """Bring the host to the desired state, one logged transition at a time.

    Example: reconciler apply desired/ --yes
    """
    from ..errors import Usage
    from ..saved import read
    from . import promise
    from .runs import carry_out, preview

    saved = None
    if plan_file is not None:
        if paths or only or prune or skip_blocked:
            raise Usage("--plan FILE holds its input; give no paths, --only, --prune or --skip-blocked beside it")
        saved = read(plan_file)
        only, prune, skip_blocked = saved.only, saved.prune, saved.skip_blocked
        way = replace(way, yes=True)
    if rehearse and within is not None:
        raise Usage("--rehearse undoes the run by itself; --confirm-within has no meaning beside it")
    if not way.dry_run:
        promise.approved(way.place, plan_file)
    wanted = Wanted(way.place, paths, prune=prune, contents=saved.inputs if saved else None)
    guard = promise.Guard(wanted, saved, rehearsing=rehearse)
    options = way.options(
        skip_blocked=skip_blocked,
        only=only,
        atomic=atomic,
        max_changes=max_changes,
        max_removals=max_removals,
        max_paths=max_paths,
        strict=saved is not None,
        confirm_by=promise.deadline(within),
    )
    if way.dry_run:
        return preview(way.place, guard.prepare, options, way.style, examine=guard.examine)
    code = carry_out(way, "apply", guard.prepare, options, guard.examine)
    if rehearse:
        return promise.undone_again(way, guard, code)
    if within is not None:
        promise.watch(way.place)
    return code
