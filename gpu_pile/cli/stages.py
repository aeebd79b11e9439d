"""The verbs that run stages: run, measure, dedupe, decide, write, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape

from gpu_pile.cli.console import err, exit_if_damaged, out, safe, show_warnings
from gpu_pile.cli.words import Words, command_of

if TYPE_CHECKING:
    from gpu_pile.run.config import Config
    from gpu_pile.run.context import Context


def verb(last: str) -> Callable[..., None]:
    """The command that runs the stages up to and including `last`."""

    def run(settings: Config, words: Words, from_file: bool) -> None:
        if not (from_file or words.quiet or words.as_json):
            _show_given(settings)
        _run(settings, last, words)

    return command_of(run, _plan)


def _plan(settings: Config) -> str:
    from gpu_pile.run.plan import describe

    return describe(settings)


def _show_given(settings: Config) -> None:
    """Print the configuration that the command line stands for, to be kept and changed."""
    import yaml

    text = yaml.safe_dump(settings.shown(given_only=True), sort_keys=False, allow_unicode=True)
    err.print(f"# the configuration of this run; as a file it can hold more\n{safe(text)}", end="")


def _run(settings: Config, last: str, words: Words) -> None:
    from gpu_pile.run import pipeline, plan
    from gpu_pile.run.compiling import Beside
    from gpu_pile.run.stages.report.stage import summary
    from gpu_pile.text.jit import compilation

    with words.reporter() as bars, Beside(settings) as beside:

        def announce() -> None:
            bars.say("compiling kernels for this processor, once per machine")
            beside.start()

        compilation.on_first = announce
        with pipeline.prepared(settings, bars) as context:
            bars.command = shlex.join(["gpu-pile", *sys.argv[1:]])
            bars.date = datetime.now(UTC).date().isoformat()
            for line in plan.headline(context):
                bars.say(line)
            pipeline.run_until(context, last)
    _show_run(context, words)
    if last == "report" and not words.as_json:
        out.print(escape(summary(context.directory)))
        if not words.quiet:
            err.print(f"[dim]{escape(_next(context))}[/]")
    exit_if_damaged(pipeline.damages(context))


def _show_run(context: Context, words: Words) -> None:
    """Print the warnings of a run, its notes, and what it compiled."""
    from gpu_pile.text.jit import compilation

    show_warnings(context.reporter.warnings)
    if words.quiet or words.as_json:
        return
    for note in context.reporter.notes:
        err.print(f"[yellow]note:[/] {escape(note)}")
    for stage, entry in context.reporter.stages.items():
        if "of_floor" in entry:
            err.print(f"[dim]{stage:>8}: {100 * entry['of_floor']:.0f} % of its floor's speed[/]")
    if compilation.functions:
        err.print(f"[dim]compiled {compilation.functions} kernels in {compilation.seconds:.1f} s[/]")


_LOADERS = {".parquet": "parquet", ".arrow": "arrow"}
"""The loader of Hugging Face datasets by the suffix of the kept shards; "json" for JSON lines."""


def _next(context: Context) -> str:
    """Three things that a person may want to do with the finished run, as commands."""
    from gpu_pile.corpus.remote import is_url
    from gpu_pile.explore.run import open_run

    run = str(context.directory.path)
    steps = []
    if not is_url(run):
        steps.append(
            ("the report", f"{'open' if sys.platform == 'darwin' else 'xdg-open'} {shlex.quote(run)}/report.html")
        )
    reasons = open_run(run).reasons().to_pylist()
    if reasons:
        most = max(reasons, key=lambda reason: reason["documents"])["reason"]
        steps.append(("what was removed", f"gpu-pile show {shlex.quote(run)} --reason {shlex.quote(most)} -n 1"))
    if context.config.write.keep == "bitmap":
        loading = f"python: gpu_pile.open_run({run!r}).kept_lines({context.shards[0].name!r})"
    else:
        suffix = context.directory.line_suffix
        loader, files = _LOADERS.get(suffix, "json"), f"{run}/kept/*{suffix}"
        loading = f'python: datasets.load_dataset("{loader}", data_files={files!r}, split="train", streaming=True)'
    steps.append(("what was kept", loading))
    width = max(len(what) for what, _ in steps)
    return "\n".join(["next:", *(f"  {what:<{width}}  {command}" for what, command in steps)])
