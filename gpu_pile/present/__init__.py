"""Tables, charts and marked differences, for notebooks, the report and the terminal."""
