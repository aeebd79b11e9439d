"""gpu-pile show: documents of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gpu_pile.cli.console import RunFolder, as_line, err, number, out, safe
from gpu_pile.cli.settings import with_options
from gpu_pile.errors import UsageError

if TYPE_CHECKING:
    from gpu_pile.explore.run import Run


_REASON = typer.Option("--reason", metavar="NAME", help="documents removed for it, such as near_duplicate")
_CLUSTER = typer.Option("--cluster", metavar="DOCUMENT", help="those that duplicate this one, the kept ones first")
_RANDOM = typer.Option("--random", help="documents chosen at random, kept and removed ones")

_CHOICE: dict[str, tuple[Any, Any]] = {
    "reason": (Annotated[str | None, _REASON], None),
    "cluster": (Annotated[str | None, _CLUSTER], None),
    "random": (Annotated[bool, _RANDOM], False),
    "n": (Annotated[int, typer.Option("-n", min=1, help="how many of --reason, --cluster or --random")], 5),
    "seed": (Annotated[int, typer.Option("--seed", min=0, help="of --random; another one chooses others")], 0),
}
"""The options that choose documents, see _chosen."""


def show(
    run: RunFolder,
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="DOCUMENT", help="SHARD:LINE, such as 00:17, or a doc_id of decisions/*.parquet"),
    ] = None,
    all_signals: Annotated[bool, typer.Option("--all", help="all signals, not only those with bounds")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per document")] = False,
    **chosen: Any,
) -> None:
    """Every reason, what differs from the witness or the text, cluster, and signals with their bounds, of documents."""
    from gpu_pile.explore.run import open_run

    opened = open_run(run)
    for identifier in _chosen(opened, documents or [], **chosen):
        story = opened.story(identifier)
        if as_json:
            out.print(as_line(story), markup=False)
        else:
            _show(identifier, story, all_signals)


with_options(show, _CHOICE)


def _chosen(run: Run, names: list[str], **how: Any) -> list[int]:
    """The doc_ids of the documents to be shown."""
    ways = [name for name in ("reason", "cluster", "random") if how[name] not in (None, False)]
    if len(ways) > 1:
        raise UsageError(f"--{ways[0]} and --{ways[1]} choose different documents; give one of them")
    ids = [run.doc_id(name) for name in names]
    if how["reason"] is not None:
        ids += run.with_reason(how["reason"], how["n"])
    elif how["cluster"] is not None:
        ids += _cluster(run, how["cluster"], how["n"])
    elif how["random"]:
        ids += run.at_random(how["n"], how["seed"])
    if not ids:
        if how["random"]:
            raise UsageError("the run has no documents")
        raise UsageError("which documents? give SHARD:LINE, --reason NAME, --cluster DOCUMENT or --random")
    return ids


def _cluster(run: Run, name: str, n: int) -> list[int]:
    """The first n documents of a document's cluster; how large it is, is printed on stderr."""
    from gpu_pile.explore.documents import cluster_members

    members = cluster_members(run, run.doc_id(name))
    keep = members.column("keep").to_pylist()
    more = f"; -n {len(keep)} shows all" if len(keep) > n else ""
    err.print(f"[dim]{len(keep):,} documents in the cluster of {safe(name)}, {sum(keep):,} kept{more}[/]")
    ids: list[int] = members.column("doc_id").to_pylist()[:n]
    return ids


def _show(identifier: int, story: dict[str, Any], all_signals: bool) -> None:
    verdict = "[green]kept[/]" if story["keep"] else "[red]removed[/]"
    place = safe(f"{story['shard']} line {story['line']}  {story['subset'] or '(no subset)'}")
    out.print(f"[bold]{identifier}[/]  {place}  {verdict}")
    for name, value in story["fields"].items():
        if value is not None:
            out.print(f"  {name}: {safe(str(value))}", style="dim")
    for reason in story["reasons"]:
        out.print(f"  [red]{safe(reason['rule'])}[/] {safe(reason['explanation'])}")
    if story["witness"] is not None:
        role = "stays as a copy of" if story["keep"] else "witness"
        similar = f"similarity {number(story['similarity'])}, cluster {story['cluster']}"
        out.print(f"  {role} {_witness(story)}, {similar}")
        if story["lost_shingles"]:
            out.print(
                f"  containment {number(story['containment'])}: {story['lost_shingles']:,} shingles of this text are "
                "not in its witness"
            )
    elif story["cluster"] is not None:
        out.print(f"  stays for cluster {story['cluster']}, {story['copies']:,} documents")
    if "difference" in story:
        out.print(_marked([(s["kind"], s["text"]) for s in story["difference"]]))
    elif "passages" in story:
        for first in story["repeated"]:
            out.print(f"  repeats {first['bytes']:,} bytes of {first['doc_id']}, from byte {first['start']:,} on")
        out.print(_marked([(s["kind"], s["text"]) for s in story["passages"]]))
    else:
        out.print(safe(story["text"]), style="dim" if not story["keep"] else None)
    table = Table("signal", "value", "min", "max", "", box=None, padding=(0, 2))
    failed = {reason["rule"] for reason in story["reasons"]}
    for name, value in story["signals"].items():
        rule = story["thresholds"].get(name, {})
        bad = bool({f"{name}.min", f"{name}.max"} & failed)
        unapplied = "not applied" if name in story["not_applied"] else "passes"
        mark = "[red]fails[/]" if bad else unapplied if rule else ""
        bounds = (number(rule[kind]) if kind in rule else "" for kind in ("min", "max"))
        if rule or all_signals:
            table.add_row(name, number(value), *bounds, mark)
    if table.rows:
        out.print(table)
    out.print()


def _witness(story: dict[str, Any]) -> str:
    if story.get("witness_run") is None:
        return str(story["witness"])
    return safe(f"{story['witness_shard']}:{story['witness_line']} of {story['witness_run']}")


def _marked(segments: list[tuple[str, str]]) -> Text:
    """One text with marks, in colour on a terminal.

    [-only in this document-] [~elsewhere in its witness~] {+only in its witness+} [=in earlier text=]
    """
    from gpu_pile.present import diff
    from gpu_pile.present.tables import visible

    around = {"removed": ("[-", "-]", "red"), "moved": ("[~", "~]", "yellow"), "added": ("{+", "+}", "green")}
    around["repeated"] = ("[=", "=]", "red")
    text = Text()
    for kind, part in diff.shortened(segments):
        before, after, style = around.get(kind, ("", "", "dim"))
        text.append(f"{before}{visible(part)}{after}", style=style)
    return text
