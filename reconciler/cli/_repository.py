"""The options by which a repository is followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ._common import F, RunOptions

if TYPE_CHECKING:
    from ..core.options import Options
    from ..gitops.notify import Listeners
    from ..gitops.sync import Sync
    from ..gitops.windows import Window


OF_REPOSITORY = (
    click.option("--ref", default="main", metavar="REF", help="A branch, refs/tags/NAME, or a commit; main."),
    click.option("--path", "inside", default="desired", metavar="DIR", help="Where in it; desired by default."),
    click.option("--allowed-signers", metavar="FILE", help="Whose SSH signatures count, as for ssh-keygen."),
    click.option("--gpg-home", metavar="DIR", help="Whose OpenPGP signatures count: all keys in this GnuPG home."),
    click.option("--allow-unsigned", is_flag=True, help="Apply commits that nobody signed."),
    click.option("--allow-empty", is_flag=True, help="Apply a commit that has nothing for this host; leaves orphans."),
    click.option("--allow-rewind", is_flag=True, help="Apply a commit that does not follow the last one."),
    click.option("--prune", is_flag=True, help="Give back deployments that are not in the commit any more."),
    click.option("--credentials", metavar="FILE", help="For https: a file as git's credential store keeps it."),
    click.option("--ssh-key", metavar="FILE", help="For ssh: the key to use."),
    click.option("--status-file", metavar="FILE", help="Write what came of a commit, as JSON."),
    click.option("--webhook", metavar="URL", help="Send the same there."),
    click.option("--webhook-secret", metavar="FILE", help="Sign what is sent with the secret in this file."),
    click.option("--github", metavar="OWNER/NAME", help="Set the commit's status there."),
    click.option("--github-api", default="https://api.github.com", metavar="URL", help="The API of GitHub Enterprise."),
    click.option("--gitlab", metavar="URL", help="Set the commit's status in this project."),
    click.option("--token-file", metavar="FILE", help="The token for commit statuses."),
)


UNATTENDED = (
    click.option("--max-changes", type=int, metavar="N", help="Refuse more transitions than this."),
    click.option("--max-removals", type=int, metavar="N", help="Refuse to remove more things than this."),
    click.option("--max-paths", type=int, metavar="N", help="Refuse to change more paths of trees than this."),
    click.option("--window", "windows", multiple=True, metavar="SPAN", help="Change only then: 'Sat,Sun 02:00-04:00'."),
    click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it."),
)


def options(*listed: Callable[[F], F]) -> Callable[[F], F]:
    """Several options in the order in which help shows them."""

    def added(command: F) -> F:
        for option in reversed(listed):
            command = option(command)
        return command

    return added


def source_of(
    way: RunOptions, repo: str, limits: Options, windows: tuple[Window, ...], given: Mapping[str, Any]
) -> tuple[Sync, Listeners]:
    """The repository that a command line means, and who is told of its commits."""
    from ..errors import Usage
    from ..gitops.notify import Listeners
    from ..gitops.repository import Repository, Trust, checked_path, checked_ref, checked_url
    from ..gitops.sync import Sync
    from ._terminal import Terminal

    own = dict(given)
    signers, home, unsigned = (own.pop(key) for key in ("allowed_signers", "gpg_home", "allow_unsigned"))
    if not (signers or home or unsigned):
        raise Usage("say whose commits count: --allowed-signers FILE or --gpg-home DIR; or --allow-unsigned")
    ref, inside, credentials, key = (own.pop(name) for name in ("ref", "inside", "credentials", "ssh_key"))
    allowed = {name: own.pop(name) for name in ("allow_empty", "allow_rewind", "prune")}
    listeners = Listeners(**own)
    listeners.check()
    source = Repository(way.place.state("git"), checked_url(repo), credentials=credentials, ssh_key=key)
    trust = Trust(signers, home, unsigned)
    one = Sync(
        way.place, Terminal(way), source, checked_ref(ref), checked_path(inside), trust, windows, limits,
        **allowed, patience=way.patience,
    )  # fmt: skip
    return one, listeners
