"""The Pile's 22 subsets as published (Gao et al. 2020, The Pile: An 800GB Dataset of Diverse Text, table 1).

Names are the values of meta.pile_set_name in the shards. Epochs say how many times a subset is in the training mixture;
the train set as published holds those copies.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subset:
    """One subset of The Pile.

    raw_gib: size of one copy in GiB. weight: share of the training mixture in percent. epochs: copies in the mixture.
    mean_document_kib: mean size of a document in KiB. aliases: other names in use.
    """

    name: str
    raw_gib: float
    weight: float
    epochs: float
    mean_document_kib: float
    aliases: tuple[str, ...] = ()


SUBSETS = (
    Subset("Pile-CC", 227.12, 18.11, 1.0, 4.33, ("CommonCrawl", "Pile CC")),
    Subset("PubMed Central", 90.27, 14.40, 2.0, 30.55, ("PubMedCentral", "PMC")),
    Subset("Books3", 100.96, 12.07, 1.5, 538.36, ("Bibliotik",)),
    Subset("OpenWebText2", 62.77, 10.01, 2.0, 3.85, ("OWT2",)),
    Subset("ArXiv", 56.21, 8.96, 2.0, 46.61),
    Subset("Github", 95.16, 7.59, 1.0, 5.25),
    Subset("FreeLaw", 51.15, 6.12, 1.5, 15.06, ("Free Law",)),
    Subset("StackExchange", 32.20, 5.13, 2.0, 2.16, ("Stack Exchange",)),
    Subset("USPTO Backgrounds", 22.90, 3.65, 2.0, 4.08, ("USPTO",)),
    Subset("PubMed Abstracts", 19.26, 3.07, 2.0, 1.30),
    Subset("Gutenberg (PG-19)", 10.88, 2.17, 2.5, 398.73, ("Gutenberg", "PG-19")),
    Subset("OpenSubtitles", 12.98, 1.55, 1.5, 30.48),
    Subset("Wikipedia (en)", 6.38, 1.53, 3.0, 1.11, ("Wikipedia",)),
    Subset("DM Mathematics", 7.75, 1.24, 2.0, 8.00, ("DeepMind Mathematics",)),
    Subset("Ubuntu IRC", 5.52, 0.88, 2.0, 545.48, ("UbuntuIRC",)),
    Subset("BookCorpus2", 6.30, 0.75, 1.5, 369.87),
    Subset("EuroParl", 4.59, 0.73, 2.0, 68.87),
    Subset("HackerNews", 3.90, 0.62, 2.0, 4.92, ("Hacker News",)),
    Subset("YoutubeSubtitles", 3.73, 0.60, 2.0, 22.55, ("YouTube Subtitles",)),
    Subset("PhilPapers", 2.38, 0.38, 2.0, 73.37),
    Subset("NIH ExPorter", 1.89, 0.30, 2.0, 2.11, ("ExPorter",)),
    Subset("Enron Emails", 0.88, 0.14, 2.0, 1.78),
)

_NOT_FREE = ("Books3", "BookCorpus2", "OpenSubtitles", "YoutubeSubtitles", "OpenWebText2")

GROUPS = {
    "pile": tuple(s.name for s in SUBSETS),
    "pile-uncopyrighted": tuple(s.name for s in SUBSETS if s.name not in _NOT_FREE),
    "academic": (
        *("PubMed Central", "ArXiv", "PubMed Abstracts", "USPTO Backgrounds", "PhilPapers", "NIH ExPorter", "FreeLaw"),
    ),
    "books": ("Books3", "BookCorpus2", "Gutenberg (PG-19)"),
    "code": ("Github",),
    "dialogue": (*("OpenSubtitles", "YoutubeSubtitles", "Ubuntu IRC", "EuroParl", "HackerNews", "Enron Emails"),),
    "web": ("Pile-CC", "OpenWebText2", "StackExchange", "Wikipedia (en)"),
}
"""Names that stand for several subsets where subsets are chosen. pile-uncopyrighted lacks what the corpus of that name
removed."""

_BY_NAME = {alias.casefold(): s for s in SUBSETS for alias in (s.name, *s.aliases)}


def find(name: str) -> Subset | None:
    """The subset with this name or alias, in upper or lower case; None where The Pile has no such subset."""
    return _BY_NAME.get(name.casefold())
