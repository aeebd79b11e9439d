"""A run: its configuration, directory, tasks and stages."""
