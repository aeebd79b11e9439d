"""What a run tells while it runs: lines, progress bars, JSON events, a log file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.markup import escape

from gpu_pile.cli.console import as_line, err, out
from gpu_pile.cli.settings import SETTINGS, ConfigName, DryRun, Inputs, Overrides, load, source, with_options
from gpu_pile.errors import UsageError
from gpu_pile.run.events import EVERY, Event, Events, line_of, stamped

if TYPE_CHECKING:
    from gpu_pile.run.config import Config


class Bars(Events):
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


@dataclass
class Words:
    """What a run tells, and where."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    log_file: Path | None = None

    @contextlib.contextmanager
    def reporter(self) -> Iterator[Bars]:
        """A reporter; with a log file, which is appended to."""
        shown: list[Callable[[Event], None]] = []
        if self.as_json:
            shown.append(lambda event: out.print(as_line(event), markup=False))
        elif not self.quiet:
            shown.append(self._show)
        with contextlib.ExitStack() as stack:
            if self.log_file is not None:
                try:
                    log = stack.enter_context(self.log_file.open("a", encoding="utf-8", buffering=1))
                except OSError as error:
                    raise UsageError(f"--log-file {self.log_file}: {error.strerror}") from None
                shown.append(lambda event: _write_line(log, stamped(event)))
            bars = Bars(*shown, bars=not (self.quiet or self.as_json), every=5.0 if self.verbose else EVERY)
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
"""The options that Words is made of: by name, the option and its default."""


def command_of(run: Callable[[Config, Words, bool], None], plan: Callable[[Config], str]) -> Callable[..., None]:
    """Return a command that takes a configuration, with the options that such commands share.

    Args:
        run: run(configuration, words, whether it comes from a file). plan: the text of --dry-run.
    """

    def command(
        inputs: Inputs = None, config: ConfigName = None, set_: Overrides = None, dry_run: DryRun = False, **more: Any
    ) -> None:
        path, data = source(inputs or [], config)
        settings = load(path, data, set_ or [], more)
        if dry_run:
            out.print(escape(plan(settings)))
        else:
            run(settings, Words(**{name: more[name] for name in WORDS}), path is not None)

    options = {name: (option, None) for name, (_, option) in SETTINGS.items()}
    return with_options(command, {**options, **WORDS})
