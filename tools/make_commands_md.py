"""Write docs/commands/: a page for each verb of gpu-pile, from what its --help says, with examples.

python tools/make_commands_md.py
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import typer

from gpu_pile.cli import app

DOCS = pathlib.Path(__file__).parents[1] / "docs"
TARGET = DOCS / "commands"

HEAD = """# Commands

`tools/make_commands_md.py` makes these pages; `gpu-pile VERB --help` says the same. Exit codes are in
[running](../run.md#exit-codes).

| verb | what it does |
|---|---|
"""

EXPLAINED = {
    **dict.fromkeys(("run", "measure", "dedupe", "decide", "write", "report", "list", "doctor"), "run.md"),
    "compile": "run.md#the-first-run-compiles",
    "bench floors": "run.md#how-fast-it-could-be",
    "substrings": "substrings.md",
    "show": "explore.md",
    "export": "explore.md",
    "diff": "explore.md",
    "verify": "verify.md",
    "sweep": "explore.md",
    "init": "run.md",
    "decontaminate": "decontamination.md",
    "index": "incremental.md#the-index",
}
"""The page that explains a verb, where it is not docs/VERB.md."""

EXAMPLES = {
    "run": [
        ("gpu-pile run data/ -o out --use gopher", "all shards below data/, Gopher's rules, no configuration file"),
        ("gpu-pile run my.yaml --dry-run", "the resolved configuration and the plan; nothing is written"),
        ("gpu-pile run my.yaml --set dedupe.fuzzy.threshold=0.7 -o other", "one option changed, another folder"),
        ("gpu-pile run --config pile data/ -o out --workers 16 --log-file run.log", "the policy for The Pile"),
    ],
    "measure": [("gpu-pile measure my.yaml", "first, on a machine with much CPU; decide and write follow elsewhere")],
    "dedupe": [("gpu-pile dedupe my.yaml", "pairs.parquet and clusters.parquet, before any threshold is chosen")],
    "substrings": [
        ("gpu-pile substrings my.yaml --set dedupe.substrings.min_bytes=200", "what would be cut, before anything is")
    ],
    "decide": [
        ("gpu-pile decide my.yaml --use gopher --use c4", "other rules on what is measured: seconds, no text is read")
    ],
    "write": [("gpu-pile write my.yaml --set write.removed=true", "the removed lines too, with their reasons")],
    "report": [("gpu-pile report my.yaml", "report.html and report.json again")],
    "show": [
        ("gpu-pile show out 00:17", "line 17 of shard 00"),
        ("gpu-pile show out --reason near_duplicate -n 3", "three removed documents, compared with their witnesses"),
        ("gpu-pile show out --random -n 3", "any three"),
        ("gpu-pile show out 00:17 --all --json", "with every signal, for a program"),
    ],
    "find": [
        ("gpu-pile find index/out --texts request.jsonl", "where these texts are, with copies and near copies"),
        ("gpu-pile find index/out --ids list.txt --remove takedown.yaml", "a removal list, for decide.remove"),
    ],
    "index": [
        ("gpu-pile index out/old index/old", "the index of a finished run, for --against"),
        ("gpu-pile index index/old out/new index/all", "an index and a run together"),
        ("gpu-pile index index/all --check", "compare the checksums of what is there"),
    ],
    "init": [("gpu-pile init data/ > my.yaml", "look at it, change what is wrong, then: gpu-pile run my.yaml")],
    "sql": [("gpu-pile sql out 'SELECT subset, count(*) FROM decisions WHERE keep GROUP BY ALL'", "kept, by subset")],
    "decontaminate": [
        ("gpu-pile decontaminate my.yaml", "contamination/ in the run, with a removal list for decide.remove")
    ],
    "sweep": [
        ("gpu-pile sweep out word_count --min 20 --min 50 --min 100", "one column per bound"),
        ("gpu-pile sweep out word_count --min 50 --max 100000 --json", "both together, with documents and bytes"),
    ],
    "verify": [
        ("gpu-pile verify out", "every line and exact duplicate, samples of the rest"),
        ("gpu-pile verify out --all", "everything; slow"),
    ],
    "export": [
        ("gpu-pile export out keep.parquet", "doc_id, shard and line of the documents that stay"),
        ("gpu-pile export out removed.jsonl.zst --what removed", "the removed documents with their texts and reasons"),
    ],
    "stats": [
        ("gpu-pile stats data/", "what a corpus is made of; needs no run"),
        ("gpu-pile stats out --parquet stats.parquet", "what a run read and keeps, as a table too"),
        ("gpu-pile stats data/ --set input.preset=dolma --json", "another layout, for a program"),
    ],
    "diff": [("gpu-pile diff out other", "what differs between two runs over the same shards")],
    "list": [
        ("gpu-pile list", "what can be listed"),
        ("gpu-pile list signals gopher_quality word_count", "a family, and one signal"),
        ("gpu-pile list thresholds gopher", "the rules of a named set"),
        ("gpu-pile list signals --json", "every column, for a program"),
    ],
    "compile": [("gpu-pile compile my.yaml", "once, in an image or on a login node")],
    "doctor": [("gpu-pile doctor", "")],
    "bench floors": [("gpu-pile bench floors data/ --mb 256", "on a sample of 256 MB")],
}


def verbs(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb by the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def row(parameter: Any) -> str:
    """The row of an argument or an option."""
    value = parameter.metavar or ("" if getattr(parameter, "is_flag", False) else parameter.name.upper())
    name = f"{', '.join(parameter.opts)} {value}".strip() if is_option(parameter) else value
    if parameter.nargs == -1:
        name = name.removesuffix("...") + "..."
    default = (
        f"; default `{parameter.default}`" if isinstance(parameter.default, int | str) and parameter.default else ""
    )
    needed = "required; " if parameter.required and is_option(parameter) else ""
    return f"| `{cell(name)}` | {needed}{cell(parameter.help or '')}{default} |\n"


def usage(verb: str, command: Any) -> str:
    """How the verb is called, on one line."""
    words = []
    for p in command.params:
        if not is_option(p):
            word = (p.metavar or p.name.upper()).removesuffix("...") + ("..." if p.nargs == -1 else "")
            words.append(word if p.required else f"[{word}]")
    return " ".join(["gpu-pile", verb, *words, "[OPTIONS]"])


def page(verb: str, command: Any, like_run: bool) -> str:
    """The page of a verb."""
    parts = [f"# gpu-pile {verb}", (command.help or "").strip(), f"```\n{usage(verb, command)}\n```"]
    if examples := EXAMPLES.get(verb):
        width = max(len(line) for line, _ in examples)
        shown = "\n".join(f"{line:{width}}  # {why}" if why else line for line, why in examples)
        parts.append(f"```sh\n{shown}\n```")
    if like_run:
        parts.append("Arguments and options are those of [run](run.md).")
    elif command.params:
        parts.append("| argument or option | meaning |\n|---|---|\n" + "".join(map(row, command.params)).rstrip())
    own = f"{verb}.md"
    explained = EXPLAINED.get(verb) or (own if (DOCS / own).exists() else "")
    more = ""
    if explained:
        title = (DOCS / explained.partition("#")[0]).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        more = f"More: [{title}](../{explained}). "
    parts.append(f"{more}All verbs: [commands](README.md).")
    return "\n\n".join(parts) + "\n"


def render() -> dict[str, str]:
    """Every page by the name of its file."""
    known = dict(verbs(typer.main.get_command(app)))
    options = {verb: [(p.opts, p.help) for p in command.params] for verb, command in known.items()}
    pages, rows = {}, []
    for verb, command in known.items():
        file = f"{verb.replace(' ', '-')}.md"
        pages[file] = page(verb, command, verb != "run" and options[verb] == options["run"])
        rows.append(f"| [{verb}]({file}) | {cell(command.help or '')} |\n")
    return {"README.md": HEAD + "".join(rows), **pages}


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    pages = render()
    for file in TARGET.glob("*.md"):
        if file.name not in pages:
            file.unlink()
    for name, text in pages.items():
        (TARGET / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
