"""Previews as one HTML page that needs nothing else: what changes, in which order, who may do what after it, and when
what happened before.  Pure.  The page has no script, and forbids itself to load anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ..formats.text import printable
from ..model import Json
from ._preview import Group, change_lines, findings, hosts_text, source_of, totals

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe3e8; --page: #fff; --box: #f6f7f9;
  --add: #1a7f37; --gone: #c62828; --move: #8a5a00; --run: #0b62b5 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b3; --line: #313a46; --page: #14181e;
  --box: #1d232b; --add: #4cc26b; --gone: #ff7b72; --move: #e3b341; --run: #6cb2ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem }
code, pre, .mono { font: 13px/1.45 ui-monospace, monospace }
pre { background: var(--box); padding: .6rem .8rem; overflow-x: auto; border-radius: 6px; margin: .3rem 0 }
.soft { color: var(--soft) }
.sum { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0 }
.sum div { background: var(--box); border-radius: 8px; padding: .5rem .9rem; min-width: 6rem }
.sum b { display: block; font-size: 1.3rem }
ol.steps { list-style: none; margin: 0; padding: 0 }
ol.steps li { border: 1px solid var(--line); border-radius: 8px; margin: .4rem 0; padding: .45rem .75rem }
.verb { display: inline-block; min-width: 5rem; font-weight: 600 }
.create { color: var(--add) }
.remove { color: var(--gone) }
.start, .stop, .restart { color: var(--run) }
.change, .own, .write, .enable, .disable, .set-mode { color: var(--move) }
.where { float: right; color: var(--soft) }
ul.find { padding-left: 1.1rem }
.error { color: var(--gone) }
.warning { color: var(--move) }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
svg { max-width: 100%; height: auto }
svg text { font: 12px ui-monospace, monospace; fill: var(--ink) }
svg path { fill: none; stroke: var(--soft) }
svg circle { fill: var(--run) }
@media print { .where { float: none } }
"""
NAMES = {"create": "create", "change": "change", "remove": "remove", "restart": "start, stop, restart",
         "unchanged": "unchanged"}  # fmt: skip
COLUMNS = ("run", "when", "what", "outcome", "by")
ROW, LEFT = 22, 150


def html(groups: Sequence[Group], runs: Sequence[Json] = (), title: str = "reconciler plan") -> str:
    """The whole page; ``runs``: the timeline, the last run first."""
    return "\n".join(_page(groups, runs, title)) + "\n"


def _t(text: object) -> str:
    return escape(printable(str(text)))


def _page(groups: Sequence[Group], runs: Sequence[Json], title: str) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>{_t(title)}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>{_t(title)}</h1>"
    hosts = sum(len(group.hosts) for group in groups)
    yield f'<p class="soft">{hosts} host{"s" if hosts != 1 else ""}</p><div class="sum">'
    for name, count in totals(groups).items():
        yield f'<div><b>{count}</b><span class="soft">{NAMES[name]}</span></div>'
    yield "</div>"
    for group in groups:
        yield from _group(group)
    if runs:
        heads = "".join(f"<th>{name}</th>" for name in COLUMNS)
        yield f"<h2>What happened before</h2><table><tr>{heads}</tr>"
        for run in runs:
            actor = run.get("actor") or {}
            who = actor.get("sudo_user") or f"uid {actor.get('uid')}"
            cells = (run["id"], str(run["at"])[:19] + "Z", f"{run['verb']} {', '.join(run['deployments'])}",
                     f"{run['outcome'] or 'cut off'}, {run['transitions']} done", who)  # fmt: skip
            yield "<tr>" + "".join(f"<td>{_t(cell)}</td>" for cell in cells) + "</tr>"
        yield "</table>"
    yield "</main></body></html>"


def _group(group: Group) -> Iterator[str]:
    yield f"<h2>{_t(hosts_text(group.hosts))}</h2><p>{_t(group.says)}</p>"
    told = list(findings(group))
    if told:
        yield '<h3>To look at</h3><ul class="find">'
        for rule, level, text, place in told:
            where = f' <span class="soft">{_t(place[0])}:{place[1]}</span>' if place[0] else ""
            yield f'<li class="{level}"><b>{_t(rule)}</b> {_t(text)}{where}</li>'
        yield "</ul>"
    if group.transitions:
        yield '<h3>What changes, in order</h3><ol class="steps">'
        for transition in group.transitions:
            yield from _step(transition)
        yield "</ol>"
        yield "<h3>What waits for what</h3>"
        yield from _graph(group.transitions)
    access = (group.plan.get("access") or {}).get("changes", ())
    if access:
        yield '<h3>Access after this</h3><ul class="find">'
        yield from (f"<li>{_t(item['text'])}</li>" for item in access)
        yield "</ul>"


def _step(transition: Json) -> Iterator[str]:
    file, line, _ = source_of(transition)
    where = f'<span class="where mono">{_t(file)}:{line}</span>' if file else ""
    verb = transition["verb"]
    yield f'<li>{where}<span class="verb {_t(verb)}">{_t(verb)}</span> <code>{_t(transition["address"])}</code>'
    lines = [escape(text) for text in change_lines(transition)]
    if lines:
        yield "<pre>" + "\n".join(lines) + "</pre>"
    rights = transition.get("rights", ())
    if rights:
        told = "\n".join(_t(item["text"]) for item in rights)
        yield f'<div class="soft">who acts as whom</div><pre>{told}</pre>'
    yield "</li>"


def _graph(transitions: Sequence[Json]) -> Iterator[str]:
    """The steps from top to bottom, each with arcs to what it waits for."""
    rows: dict[str, int] = {}
    for number, transition in enumerate(transitions):
        rows.setdefault(transition["address"], number)
    height = len(transitions) * ROW + 10
    yield f'<svg viewBox="0 0 720 {height}" role="img" aria-label="order of {len(transitions)} steps">'
    for number, transition in enumerate(transitions):
        y = number * ROW + 16
        for needed in transition["requires"]:
            if needed in rows and rows[needed] < number:
                top = rows[needed] * ROW + 16
                bow = min(LEFT - 20, 14 + (number - rows[needed]) * 6)
                yield f'<path d="M{LEFT} {top} C{LEFT - bow} {top} {LEFT - bow} {y} {LEFT} {y}"/>'
        yield f'<circle cx="{LEFT}" cy="{y}" r="3.5"/>'
        yield f'<text x="{LEFT + 10}" y="{y + 4}">{_t(transition["verb"])} {_t(transition["address"])[:70]}</text>'
    yield "</svg>"
