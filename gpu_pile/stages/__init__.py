"""The verbs: measure, dedupe, decide, write, report. Each reads files of the run directory and writes others."""
