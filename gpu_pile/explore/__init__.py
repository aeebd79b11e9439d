"""A finished run: opened, questioned, verified, exported."""
