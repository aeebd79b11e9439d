"""gpu-pile show: documents of a finished run."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gpu_pile.cli.console import RunFolder, as_line, number, out, safe
from gpu_pile.errors import UsageError


def show(
    run: RunFolder,
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="DOCUMENT", help="SHARD:LINE, such as 00:17, or a doc_id of decisions/*.parquet"),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="NAME", help="documents removed for it, such as near_duplicate")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="how many of --reason")] = 5,
    all_signals: Annotated[bool, typer.Option("--all", help="all signals, not only those with bounds")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a document")] = False,
) -> None:
    """Every reason, what differs from the witness or the text, cluster, and signals with their bounds, of documents."""
    from gpu_pile.explore.run import open_run

    opened = open_run(run)
    chosen = [opened.doc_id(name) for name in documents or ()]
    if reason is not None:
        chosen += opened.with_reason(reason, n)
    if not chosen:
        raise UsageError(f"which documents? gpu-pile show {run} SHARD:LINE, or --reason NAME")
    for identifier in chosen:
        story = opened.story(identifier)
        if as_json:
            out.print(as_line(story), markup=False)
        else:
            _show(identifier, story, all_signals)


def _show(identifier: int, story: dict[str, Any], all_signals: bool) -> None:
    verdict = "[green]kept[/]" if story["keep"] else "[red]removed[/]"
    place = safe(f"{story['shard']} line {story['line']}  {story['subset'] or '(no subset)'}")
    out.print(f"[bold]{identifier}[/]  {place}  {verdict}")
    for reason in story["reasons"]:
        out.print(f"  [red]{safe(reason['rule'])}[/] {safe(reason['explanation'])}")
    if story["witness"] is not None:
        out.print(f"  witness {story['witness']}, similarity {number(story['similarity'])}, cluster {story['cluster']}")
    elif story["cluster"] is not None:
        out.print(f"  stays for cluster {story['cluster']}")
    if "difference" in story:
        out.print(_marked([(s["kind"], s["text"]) for s in story["difference"]]))
    else:
        out.print(safe(story["text"]), style="dim" if not story["keep"] else None)
    table = Table("signal", "value", "min", "max", "", box=None, padding=(0, 2))
    failed = {reason["rule"] for reason in story["reasons"]}
    for name, value in story["signals"].items():
        rule = story["thresholds"].get(name, {})
        bad = bool({f"{name}.min", f"{name}.max"} & failed)
        mark = "[red]fails[/]" if bad else "passes" if rule else ""
        bounds = (number(rule[kind]) if kind in rule else "" for kind in ("min", "max"))
        if rule or all_signals:
            table.add_row(name, number(value), *bounds, mark)
    if table.rows:
        out.print(table)
    out.print()


def _marked(segments: list[tuple[str, str]]) -> Text:
    """One text with marks: [-only in this document-] {+only in its witness+}, in colour on a terminal."""
    from gpu_pile.present import diff
    from gpu_pile.present.tables import visible

    around = {"removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}
    text = Text()
    for kind, part in diff.shortened(segments):
        before, after, style = around.get(kind, ("", "", "dim"))
        text.append(f"{before}{visible(part)}{after}", style=style)
    return text
