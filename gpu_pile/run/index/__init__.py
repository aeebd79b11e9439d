"""The index of finished runs: all that is needed to find their duplicates without reading their tables again.

store   the files of an index: opening, checking, rows and where they are
build   a run -> an index; several indexes -> one
old     the documents of indexes as rows before those of a run (input.against)
"""
