"""report: what a run did, for programs (report.json) and for people (report.html)."""
