"""Where given documents are in finished runs: exact and near matches by an index.

queries    files of texts, hashes or names of documents -> hashes and sketches
search     hashes and sketches -> matches, by binary search in the sorted parts of the index
evidence   texts of matches read again: exact similarity, containment, the longest common passage
"""

from gpu_pile.explore.lookup.search import Found, Match, find

__all__ = ["Found", "Match", "find"]
