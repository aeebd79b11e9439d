"""A run: its configuration, directory, tasks and stages. Called, gpu_pile.run(...) is gpu_pile.explore.start.run."""
