"""gp.run: a run from Python, with its progress in the notebook or on the terminal, opened when it is done."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_pile.explore.run import Run, open_run
from gpu_pile.present.tables import html_text
from gpu_pile.run import config as configuration
from gpu_pile.run import pipeline, plan
from gpu_pile.run.config import Config
from gpu_pile.run.events import Event, Events, line_of, stamped
from gpu_pile.text.jit import compilation

REDRAWN = 0.5
"""Seconds between two pictures of the progress in a notebook."""


def run(
    config: str | Path | Mapping[str, Any] | Config,
    changes: Mapping[str, Any] | None = None,
    *,
    client: Any = None,
    progress: bool = True,
) -> Run:
    """Run every stage of a configuration, as `gpu-pile run` does, and open the result.

    What is done already is not done again. Warnings, and damage to the input, become warnings of Python.

    Args:
        config: a YAML file; the name of a configuration that comes with the package, such as "pile"; or a mapping.
        changes: values by key path, such as {"dedupe.fuzzy.threshold": 0.7}, that replace those of the configuration.
        client: a distributed.Client, whose workers do the work; it is not closed.
        progress: show how far each stage is: as bars in a notebook, else as lines on standard error.

    Raises:
        ConfigError: the configuration is not valid; names every problem. UsageError: see `gpu-pile run`.

    >>> import gpu_pile as gp
    >>> settings = {"input": "demo/kept/*.jsonl.zst", "output": "again", "thresholds": {"use": "gopher"}}
    >>> run = gp.run(settings, {"workers": 1}, progress=False)
    >>> run.report["documents"]
    352
    """
    settings = _settings(config, dict(changes or {}), client)
    reporter = _reporter(progress)
    before, compilation.on_first = compilation.on_first, lambda: reporter.say("compiling kernels, once per machine")
    try:
        with pipeline.prepared(settings, reporter, client) as context:
            for line in plan.headline(context):
                reporter.say(line)
            pipeline.run_until(context, "report")
    finally:
        reporter.close()
        compilation.on_first = before
    for sentence in (*reporter.warnings, *pipeline.damages(context)):
        warnings.warn(sentence, stacklevel=3)
    return open_run(context.directory.path)


def _settings(config: str | Path | Mapping[str, Any] | Config, changes: Mapping[str, Any], client: Any) -> Config:
    options = {f"changes[{key!r}]": (key, value) for key, value in changes.items()}
    if client is not None:
        if getattr(client, "asynchronous", False):
            raise TypeError("client is asynchronous; pass distributed.Client(..., asynchronous=False)")
        options["client"] = ("cluster.where", client.scheduler.address)
    if isinstance(config, Config):
        config = config.model_dump(exclude_unset=True)
    if isinstance(config, str | Path):
        name = str(config)
        config = Path(name) if name.endswith((".yaml", ".yml")) else configuration.bundled(name)
    elif not isinstance(config, Mapping):
        kind = type(config).__name__
        raise TypeError(f"config is of type {kind}; pass a YAML file, the name of a configuration, or a mapping")
    return configuration.load(config, options=options)


# progress


def _reporter(progress: bool) -> Events:
    display = _notebook() if progress else None
    if display is not None:
        return Events(Picture(display).show, every=REDRAWN)
    return Events(*([_write] if progress else []))


def _write(event: Event) -> None:
    line = stamped(event)
    if line is not None:
        sys.stderr.write(f"{line}\n")


def _notebook() -> Callable[[str], None] | None:
    """What shows HTML in the place of what it showed before, in a notebook; None elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return lambda html: handle.update(HTML(html))


class Picture:
    """The stages of a run as bars; display shows HTML in the place of what it showed before."""

    def __init__(self, display: Callable[[str], None]) -> None:
        self._display = display
        self._latest: dict[str, Event] = {}
        self._messages: list[str] = []
        self._lock = threading.Lock()

    def show(self, event: Event) -> None:
        with self._lock:
            if event["event"] == "message":
                self._messages.append(event["text"])
            else:
                self._latest[event["stage"]] = event
            self._display(self.html())

    def html(self) -> str:
        rows = "".join(map(self._row, self._latest.values()))
        said = "".join(f"<div>{html_text(line)}</div>" for line in self._messages)
        return f'<div style="font:.9em/1.5 ui-monospace,monospace">{said}{rows}</div>'

    def _row(self, event: Event) -> str:
        done = event["event"] == "end"
        share = 'value="1"' if done else f'value="{event["share"]}"' if "share" in event else ""
        text = line_of(event) or f"{event['stage']:>8}: at work"
        return f'<div style="white-space:pre"><progress {share} max="1"></progress> {html_text(text)}</div>'
