"""The command line: gpu-pile. The only file that prints.

Importing it loads neither numba nor pyarrow: --help, --version, and typing errors answer at once.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

import gpu_pile
from gpu_pile.errors import GpuPileError, UsageError
from gpu_pile.run.events import EVERY, Event, Events, line_of, stamped
from gpu_pile.run.stages import STAGES

if TYPE_CHECKING:
    from gpu_pile.run.config import Config
    from gpu_pile.run.context import Context

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG|DATA",
        help="a YAML configuration (*.yaml, *.yml); or what to read: files, folders, globs or URLs",
    ),
]
ConfigName = Annotated[
    str | None,
    typer.Option("--config", metavar="NAME|FILE", help="a configuration that comes with gpu-pile, such as pile"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="override one setting; may be repeated")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="print the resolved configuration and the plan, read and write nothing more")
]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="a run directory, or its URL")]


class _Bars(Events):
    """Progress bars on a terminal, besides what Events shows; a stage of under two seconds shows none."""

    def __init__(self, *shown: Callable[[Event], None], bars: bool = True, every: float = EVERY) -> None:
        super().__init__(*shown, every=every)
        self._with_bars = bars and err.is_terminal
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        name = TextColumn("{task.description:>8}")
        columns = (name, BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, transient=True)
        self._bars: dict[str, Any] = {}
        self._timer: threading.Timer | None = None

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        if self._with_bars and total:
            self._bars[stage] = self._progress.add_task(stage, total=total)
            if self._timer is None:
                self._timer = threading.Timer(2.0, self._progress.start)
                self._timer.daemon = True
                self._timer.start()

    def advance(self, stage: str, n_bytes: int) -> None:
        super().advance(stage, n_bytes)
        if stage in self._bars:
            self._progress.advance(self._bars[stage], n_bytes)

    def end(self, stage: str) -> None:
        if stage in self._bars:
            self._progress.remove_task(self._bars.pop(stage))
        super().end(stage)

    def close(self) -> None:
        super().close()
        if self._timer is not None:
            self._timer.cancel()
            self._progress.stop()


# the stages


@dataclass
class _Words:
    """What a run tells, and where."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    log_file: Path | None = None

    @contextlib.contextmanager
    def reporter(self) -> Iterator[_Bars]:
        """A reporter; with a log file, which is appended to."""
        shown: list[Callable[[Event], None]] = []
        if self.as_json:
            shown.append(lambda event: out.print(_json(event), markup=False))
        elif not self.quiet:
            shown.append(self._show)
        with contextlib.ExitStack() as stack:
            if self.log_file is not None:
                try:
                    log = stack.enter_context(self.log_file.open("a", encoding="utf-8", buffering=1))
                except OSError as error:
                    raise UsageError(f"--log-file {self.log_file}: {error.strerror}") from None
                shown.append(lambda event: _write_line(log, stamped(event)))
            bars = _Bars(*shown, bars=not (self.quiet or self.as_json), every=5.0 if self.verbose else EVERY)
            stack.callback(bars.close)
            yield bars

    def _show(self, event: Event) -> None:
        """On a terminal without times and without progress, which has a bar there."""
        if err.is_terminal and event["event"] == "progress" and not self.verbose:
            return
        line = line_of(event) if err.is_terminal else stamped(event)
        if line is not None:
            err.print(f"[dim]{escape(line)}[/]")


def _write_line(file: TextIO, line: str | None) -> None:
    if line is not None:
        file.write(f"{line}\n")


WORDS: dict[str, tuple[Any, Any]] = {
    "quiet": (Annotated[bool, typer.Option("--quiet", help="only warnings, errors and the summary")], False),
    "verbose": (Annotated[bool, typer.Option("--verbose", help="a line about progress every 5 s, not 30")], False),
    "as_json": (Annotated[bool, typer.Option("--json", help="events on standard output, as JSON lines")], False),
    "log_file": (Annotated[Path | None, typer.Option("--log-file", help="append lines with times to it")], None),
}
"""The options that _Words is made of: by name, the option and its default."""


_OUTPUT = typer.Option("--output", "-o", metavar="FOLDER|URL", help="the run directory")
_USE = typer.Option("--use", metavar="NAME", help="named thresholds, such as gopher; may be repeated")
_THRESHOLD = typer.Option("--threshold", metavar="X", help="similarity of near duplicates, 0.8 if nothing is said")
_WORKERS = typer.Option("--workers", metavar="N", help="threads; one per core if nothing is said")
_CLUSTER = typer.Option("--cluster", metavar="local|cuda|ADDRESS|scheduler-file=F", help="see docs/cluster.md")
_STRICT = typer.Option("--strict", help="warnings about the configuration are errors")

SETTINGS: dict[str, tuple[str, Any]] = {
    "output": ("output", Annotated[str | None, _OUTPUT]),
    "use": ("thresholds.use", Annotated[list[str] | None, _USE]),
    "threshold": ("dedupe.fuzzy.threshold", Annotated[float | None, _THRESHOLD]),
    "workers": ("workers", Annotated[int | None, _WORKERS]),
    "backend": ("backend", Annotated[str | None, typer.Option("--backend", metavar="auto|cpu|cuda")]),
    "cluster": ("cluster.where", Annotated[str | None, _CLUSTER]),
    "strict": ("strict", Annotated[bool | None, _STRICT]),
}
"""The options that set one value of the configuration: by name, its path and the option."""


def _source(inputs: list[str], name: str | None) -> tuple[Path | None, list[str]]:
    """The configuration file among the arguments of a verb, if there is one, and the data."""
    from gpu_pile.run import config

    sources = [Path(i) for i in inputs if i.endswith((".yaml", ".yml"))]
    data = [i for i in inputs if not i.endswith((".yaml", ".yml"))]
    if name is not None:
        sources.append(Path(name) if Path(name).suffix else config.bundled(name))
    if len(sources) > 1:
        raise UsageError(f"one configuration is expected, not {len(sources)}: {', '.join(map(str, sources))}")
    if not sources and not data:
        raise UsageError("there is nothing to read: give a configuration (*.yaml), or files or folders and -o FOLDER")
    return (sources[0] if sources else None), data


def _load(path: Path | None, data: list[str], overrides: list[str], given: dict[str, Any]) -> Config:
    """The configuration that the arguments of a verb stand for."""
    from gpu_pile.run import config

    options: dict[str, tuple[str, Any]] = {"DATA": ("input.shards", data)} if data else {}
    for option, (key, _) in SETTINGS.items():
        value = given[option]
        if value is not None and value != []:
            shown = " ".join(value) if isinstance(value, list) else value
            options[f"--{option}" if value is True else f"--{option} {shown}"] = (key, value)
    return config.load(path, overrides, options)


def _verb(last: str) -> Callable[..., None]:
    """The command that runs the stages up to and including `last`."""

    def command(
        inputs: Inputs = None, config: ConfigName = None, set_: Overrides = None, dry_run: DryRun = False, **more: Any
    ) -> None:
        path, data = _source(inputs or [], config)
        settings = _load(path, data, set_ or [], more)
        if dry_run:
            from gpu_pile.run import plan

            out.print(escape(plan.describe(settings)))
        else:
            words = _Words(**{name: more[name] for name in WORDS})
            if path is None and not (words.quiet or words.as_json):
                _show_given(settings)
            _run(settings, last, words)

    options = {name: (option, None) for name, (_, option) in SETTINGS.items()}
    return _with_options(command, {**options, **WORDS})


def _with_options(command: Callable[..., None], options: dict[str, tuple[Any, Any]]) -> Callable[..., None]:
    """Give a command options, by name the option and its default, in place of its **more."""
    signature = inspect.signature(command, eval_str=True)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, (option, default) in options.items():
        named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option))
    command.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in named}
    return command


def _show_given(settings: Config) -> None:
    """Print the configuration that the command line stands for, to be kept and changed."""
    import yaml

    text = yaml.safe_dump(settings.shown(given_only=True), sort_keys=False, allow_unicode=True)
    err.print(f"# the configuration of this run; as a file it can hold more\n{_safe(text)}", end="")


def _run(settings: Config, last: str, words: _Words) -> None:
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
    damages = pipeline.damages(context)
    for damage in damages:
        err.print(f"[red]damage:[/] {escape(damage)}")
    if damages:
        raise typer.Exit(1)


def _show_run(context: Context, words: _Words) -> None:
    """Print the warnings of a run, its notes, and what it compiled."""
    from gpu_pile.text.jit import compilation

    for warning in context.reporter.warnings:
        err.print(f"[bold yellow]warning:[/] {escape(warning)}")
    if words.quiet or words.as_json:
        return
    for note in context.reporter.notes:
        err.print(f"[yellow]note:[/] {escape(note)}")
    for stage, entry in context.reporter.stages.items():
        if "of_floor" in entry:
            err.print(f"[dim]{stage:>8}: {100 * entry['of_floor']:.0f} % of its floor's speed[/]")
    if compilation.functions:
        err.print(f"[dim]compiled {compilation.functions} kernels in {compilation.seconds:.1f} s[/]")


def _next(context: Context) -> str:
    """What a person may want to do with the finished run."""
    from gpu_pile.explore.run import open_run

    run = str(context.directory.path)
    table = open_run(run).decisions.head(1000)
    removed = [d for d, keep in zip(table["doc_id"].to_pylist(), table["keep"].to_pylist(), strict=True) if not keep]
    shown = f"\n  a removed document:  gpu-pile show {shlex.quote(run)} {removed[0]}" if removed else ""
    return f"next:{shown}\n  in Python:           gpu_pile.open_run({run!r})"


# finished runs


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
            out.print(_json(story), markup=False)
        else:
            _show(identifier, story, all_signals)


def _show(identifier: int, story: dict[str, Any], all_signals: bool) -> None:
    verdict = "[green]kept[/]" if story["keep"] else "[red]removed[/]"
    place = _safe(f"{story['shard']} line {story['line']}  {story['subset'] or '(no subset)'}")
    out.print(f"[bold]{identifier}[/]  {place}  {verdict}")
    for reason in story["reasons"]:
        out.print(f"  [red]{_safe(reason['rule'])}[/] {_safe(reason['explanation'])}")
    if story["witness"] is not None:
        out.print(
            f"  witness {story['witness']}, similarity {_number(story['similarity'])}, cluster {story['cluster']}"
        )
    elif story["cluster"] is not None:
        out.print(f"  stays for cluster {story['cluster']}")
    if "difference" in story:
        out.print(_marked([(s["kind"], s["text"]) for s in story["difference"]]))
    else:
        out.print(_safe(story["text"]), style="dim" if not story["keep"] else None)
    table = Table("signal", "value", "min", "max", "", box=None, padding=(0, 2))
    failed = {reason["rule"] for reason in story["reasons"]}
    for name, value in story["signals"].items():
        rule = story["thresholds"].get(name, {})
        bad = bool({f"{name}.min", f"{name}.max"} & failed)
        mark = "[red]fails[/]" if bad else "passes" if rule else ""
        bounds = (_number(rule[kind]) if kind in rule else "" for kind in ("min", "max"))
        if rule or all_signals:
            table.add_row(name, _number(value), *bounds, mark)
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


def _safe(text: str) -> str:
    """Text from the corpus: no markup of rich, no control character that a terminal obeys."""
    from gpu_pile.present.tables import visible

    return escape(visible(text))


def _json(value: Any) -> str:
    """JSON on one line; ASCII, so that nothing in a text can steer a terminal."""
    return json.dumps(value)


def verify(
    run: RunFolder,
    everything: Annotated[
        bool, typer.Option("--all", help="look at everything that each check is about, not at samples; slow")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="of the samples")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per check")] = False,
) -> None:
    """Check a finished run from its files alone, by other code; --all checks everything. Writes nothing."""
    from gpu_pile.explore.run import open_run
    from gpu_pile.explore.verify import Check
    from gpu_pile.explore.verify import verify as check_run

    def show_check(check: Check) -> None:
        if as_json:
            out.print(_json(check.__dict__), markup=False)
            return
        verdict = f"[red]{check.failed:,} wrong[/] of" if check.failed else "[green]ok[/],"
        out.print(f"{check.name:<11} {verdict} {check.numbers} checked: {escape(check.what)}")
        for note in check.notes:
            out.print(f"            [dim]{_safe(note)}[/]")
        for example in check.examples:
            out.print(f"            [red]{_safe(example)}[/]")

    bars = _Bars()
    bars.begin("verify", sum(s.n_bytes for s in open_run(run).shards))
    try:
        checks = check_run(
            run, everything=everything, seed=seed, progress=lambda n: bars.advance("verify", n), done=show_check
        )
    finally:
        bars.close()
    if any(check.failed for check in checks):
        raise typer.Exit(1)


def export(
    run: RunFolder,
    target: Annotated[
        str, typer.Argument(metavar="FILE", help="*.parquet, *.txt or *.tsv; anything there is replaced")
    ],
    what: Annotated[str, typer.Option("--what", metavar="keep|drop", help="which documents' ids")] = "keep",
) -> None:
    """Ids of the documents to keep or to drop: doc_id, shard and line, as Parquet or as text with tabs."""
    from gpu_pile.explore import export as exports

    n = exports.export_ids(run, target, what)
    out.print(f"{n:,} ids: {escape(target)}")


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


_LISTS = ("signals", "ops", "backends", "thresholds", "subsets")


def list_(
    what: Annotated[str, typer.Argument(metavar="|".join(_LISTS))],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="only these; signals also by family")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row, with every column")] = False,
) -> None:
    """What there is: signals, operations, backends, named thresholds (with NAME their rules), The Pile's subsets."""
    from gpu_pile.explore import catalogue

    if what not in _LISTS:
        raise UsageError(f"gpu-pile list {what}: there is nothing of that name; there are: {', '.join(_LISTS)}")
    if what == "thresholds" and names:
        columns, rows = catalogue.rules(names)
    else:
        columns, rows = getattr(catalogue, what)()
        if names:
            by = columns[:2] if what == "signals" else columns[:1]
            columns, rows = catalogue.named((columns, rows), names, by)
    if as_json:
        for row in rows:
            out.print(_json(dict(zip(columns, row, strict=True))), markup=False)
        return
    if what == "signals":
        out.print(_signals_table([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def _signals_table(signals: list[dict[str, Any]]) -> Table:
    """A line for each signal; on a terminal, where definitions would be narrow columns, they are below the names."""
    if not out.is_terminal:
        table = Table("signal", "family", "definition", box=None, padding=(0, 2, 0, 0))
        for s in signals:
            table.add_row(s["signal"], s["family"], escape(s["definition"]))
        return table
    table = Table.grid()
    for s in signals:
        table.add_row(f"[bold]{s['signal']}[/]  [dim]{s['family']}[/]")
        table.add_row(Padding(escape(s["definition"]), (0, 0, 0, 4)))
    return table


def bench_floors(
    shards: Annotated[list[str], typer.Argument(metavar="SHARDS...", help="files, folders, globs or URLs")],
    megabytes: Annotated[int, typer.Option("--mb", min=1, help="of decompressed bytes to look at")] = 64,
    text_field: Annotated[str, typer.Option("--text-field", help="path of the text in a line")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a row")] = False,
) -> None:
    """How fast one core does what no run on these shards can avoid: decompress, find lines and fields, compress."""
    from gpu_pile.corpus.line_format import LineFormat
    from gpu_pile.corpus.shards import find_shards
    from gpu_pile.run import floors

    samples = floors.take_samples(find_shards(shards, Path.cwd()), megabytes * 10**6)
    table = Table("", "", "MB/s", "ratio", box=None, padding=(0, 2))
    for floor in floors.measure_floors(samples, LineFormat(text_field, "meta.pile_set_name"), floors.LEVELS):
        if as_json:
            out.print(_json({**floor._asdict(), "bytes_per_second": floor.bytes_per_second}), markup=False)
        ratio = "" if floor.ratio is None else f"{floor.ratio:.2f}"
        table.add_row(floor.what, floor.how, f"{floor.bytes_per_second / 1e6:,.0f}", ratio)
    if not as_json:
        out.print(table)


def compile_(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="without one: the default settings")] = None,
    set_: Overrides = None,
) -> None:
    """Compile what a configuration needs and store it, for images and login nodes; runs then start at once."""
    from gpu_pile.run.compiling import compile_for
    from gpu_pile.run.config import load, parse
    from gpu_pile.run.progress import Reporter
    from gpu_pile.text.jit import cache_folder, compilation

    if config is None and set_:
        raise UsageError("--set needs a configuration: gpu-pile compile CONFIG --set ...")
    unset = {"input": {"shards": ["-"]}, "output": "-"}
    settings = parse(unset) if config is None else load(config, set_ or [])
    compilation.on_first = lambda: err.print("[dim]compiling kernels for this processor, once per machine[/]")
    compile_for(settings, Reporter())
    new = f"{compilation.functions} kernels in {compilation.seconds:.1f} s" if compilation.functions else "nothing new"
    out.print(f"compiled {new}: {escape(str(cache_folder()))}")


def doctor() -> None:
    """What this machine has, what is missing, and the command that adds it."""
    from gpu_pile.explore import catalogue

    for finding in catalogue.doctor():
        mark = "[green]ok[/]" if finding.ok else "[yellow]--[/]"
        out.print(f"{mark}  {escape(finding.sentence)}")


def _main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        out.print(f"gpu-pile {gpu_pile.__version__}")
        raise typer.Exit()


class _Group(TyperGroup):
    """The command group: Ctrl-C ends with a sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; run the same command again to go on")
            raise typer.Exit(INTERRUPTED) from None


def make_app() -> typer.Typer:
    """The commands: `run`, a verb per stage, and those for finished runs."""
    app = typer.Typer(
        cls=_Group,
        help="Deduplicate and filter language-model corpora of The Pile's shape, with a reason for every removal.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_main)
    names = ", ".join(stage.name for stage in STAGES)
    everything = f"Run every stage: {names}. Redoes only what is missing or has changed."
    app.command("run", help=everything)(_verb(STAGES[-1].name))
    for stage in STAGES:
        earlier = " Runs the stages before it first, where they are not done." if stage is not STAGES[0] else ""
        app.command(stage.name, help=stage.help + earlier)(_verb(stage.name))
    for command in (show, verify, export, doctor):
        app.command()(command)
    app.command("list")(list_)
    app.command("compile")(compile_)
    bench = typer.Typer(help="How fast this machine is.", no_args_is_help=True)
    bench.callback()(lambda: None)
    bench.command("floors")(bench_floors)
    app.add_typer(bench, name="bench")
    return app


app = make_app()


def main() -> NoReturn:
    """Entry point: errors that people can act on are one paragraph, not a traceback."""
    try:
        app()
    except GpuPileError as error:
        err.print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # while modules were imported
        sys.exit(INTERRUPTED)
    sys.exit(0)


if __name__ == "__main__":
    main()
