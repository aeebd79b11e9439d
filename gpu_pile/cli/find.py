"""gpu-pile find: where given documents are in finished runs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gpu_pile.cli.console import as_line, err, out, safe
from gpu_pile.cli.settings import with_options
from gpu_pile.errors import UsageError

if TYPE_CHECKING:
    from gpu_pile.explore.lookup import Found, Match
    from gpu_pile.run.index.store import Index

_TEXTS = typer.Option("--texts", metavar="FILE", help='JSON lines with "text", or strings; or *.txt, one text')
_HASHES = typer.Option("--hashes", metavar="FILE", help="a line each: hash_hi and hash_lo in 32 hexadecimal digits")
_IDS = typer.Option("--ids", metavar="FILE", help="a line each: SHARD:LINE, doc_id, or an id of input.id_field")
_READ = typer.Option("--read", help="read the texts of matches: exact similarity, containment, longest passage")
_REMOVE = typer.Option("--remove", metavar="OUT", help="write a removal list of the matches, *.yaml or *.jsonl")

_HOW: dict[str, tuple[Any, Any]] = {
    "texts": (Annotated[str | None, _TEXTS], None),
    "hashes": (Annotated[str | None, _HASHES], None),
    "ids": (Annotated[str | None, _IDS], None),
    "threshold": (Annotated[float, typer.Option("--threshold", min=0.0, max=1.0, help="of near matches")], 0.7),
    "n": (Annotated[int, typer.Option("-n", min=1, help="matches of each document at most")], 1000),
    "read": (Annotated[bool, _READ], False),
    "remove": (Annotated[str | None, _REMOVE], None),
    "as_json": (Annotated[bool, typer.Option("--json", help="one JSON object per match")], False),
}


def find(
    where: Annotated[str, typer.Argument(metavar="RUN|INDEX", help="a finished run, or an index (gpu-pile index)")],
    **how: Any,
) -> None:
    """Exact and near matches of given documents in finished runs, and a removal list of them."""
    from gpu_pile.run.index import build
    from gpu_pile.run.index.store import Index

    given = [name for name in ("texts", "hashes", "ids") if how[name] is not None]
    if len(given) != 1:
        raise UsageError("what should be found? Give one of --texts, --hashes and --ids")
    if build.is_index(where):
        _find(Index(Path(where)), given[0], how)
        return
    with tempfile.TemporaryDirectory() as folder:
        err.print(f"[dim]indexing {escape(where)}; gpu-pile index {escape(where)} OUT keeps the index[/]")
        _find(build.make([where], Path(folder) / "index"), given[0], how)


with_options(find, _HOW)


def _find(index: Index, kind: str, how: dict[str, Any]) -> None:
    from gpu_pile.corpus import files
    from gpu_pile.explore.lookup import find as search
    from gpu_pile.explore.lookup import queries as reading

    if how["read"] and kind != "texts":
        raise UsageError("--read compares texts, which --texts gives")
    path = files.path_of(how[kind])
    if not path.is_file():
        raise UsageError(f"--{kind}: there is no file {path}")
    queries = reading.of_hashes(path) if kind == "hashes" else getattr(reading, f"of_{kind}")(path, index)
    found = search(index, queries, how["threshold"], how["n"])
    if how["read"]:
        from gpu_pile.explore.lookup.evidence import with_texts

        texts = dict(zip(queries.names, queries.texts or (), strict=True))
        found = found._replace(matches=with_texts(index, found.matches, texts, how["threshold"]))
    if how["remove"] is not None:
        _write(how["remove"], index, found, how[kind])
    for match in found.matches if how["as_json"] else ():
        out.print(as_line(match._asdict()), markup=False)
    if not how["as_json"]:
        _show(found, queries.names)
    for name, n in found.left_out.items():
        err.print(f"[yellow]{safe(name)} has {n:,} more matches[/]; a larger -n shows them")


def _show(found: Found, names: list[str]) -> None:
    table = Table("looked for", "match", "similarity", "contained", "passage", "kept", "document", box=None)
    for m in found.matches:
        about = "~" if m.estimated else ""
        span = "" if m.span is None else f"{m.span[0]}-{m.span[1]}"
        place = f"{m.shard}:{m.line}" + (f" of {m.run}" if len({x.run for x in found.matches}) > 1 else "")
        figures = (f"{about}{m.similarity:.3f}", f"{about}{m.containment:.3f}")
        table.add_row(safe(m.query), m.kind, *figures, span, "yes" if m.keep else "no", safe(place))
    if found.matches:
        out.print(table)
    without = len(set(names) - {m.query for m in found.matches})
    out.print(f"{len(found.matches):,} matches of {len(names):,} documents; {without:,} have none")


def _write(target: str, index: Index, found: Found, source: str) -> None:
    """Write a removal list for decide.remove."""
    from gpu_pile.corpus import files

    if len(index.runs) > 1:
        raise UsageError("--remove: a removal list is for one run, and the index has several; find in each run")
    if found.left_out:
        raise UsageError(f"--remove: {next(iter(found.left_out))} has more than -n matches; give a larger -n")
    if not target.endswith((".yaml", ".jsonl")):
        raise UsageError(f"--remove {target}: expected a name that ends in .yaml or .jsonl")
    rows: dict[tuple[str, int], str] = {}
    for m in found.matches:
        rows.setdefault((m.shard, m.line), _note(m, source))
    start = "- " if target.endswith(".yaml") else ""
    lines = [
        f"{start}{json.dumps({'shard': shard, 'line': line, 'reason': 'takedown', 'note': note})}\n"
        for (shard, line), note in sorted(rows.items())
    ]
    files.write_text(files.path_of(target), "".join(lines))
    name = escape(target)
    err.print(f"{len(rows):,} documents: {name}; --set decide.remove={name} removes them")


def _note(match: Match, source: str) -> str:
    how = "equals" if match.kind == "exact" else f"is like ({match.similarity:.3f})"
    return f"{how} {match.query} of {Path(source).name}"
