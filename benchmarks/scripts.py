"""Are near duplicates found in scripts without spaces between words? Planted pairs, made texts and real ones.

    python benchmarks/scripts.py [--messages FOLDER] [--pairs 300] [--shingle word,auto,char] [--width 5]

Made texts have words of 1 to 4 syllables from a vocabulary of 5,000, frequent ones first (Zipf), and neither spaces nor
punctuation where the script has none. Real texts are sentences from translated messages: FOLDER has folders of
languages with *.po files below them, such as django/conf/locale. Each text has a copy with an edit:

    1 % of units     one unit in a hundred replaced by another: a word, or in scripts without spaces a letter with its
                     marks
    1 sentence       one of its 30 sentences replaced by another (real texts only)

Prints for each language and edit the share of copies that gp.dedupe finds at 0.8, the mean similarity of a text and its
copy, and how many other pairs it finds.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import unicodedata
from pathlib import Path
from typing import Any

import gpu_pile as gp

VOCABULARY = 5000
WORDS = 400
SENTENCES = 30
LANGUAGES = {
    **{"Chinese": "zh_Hans", "Japanese": "ja", "Thai": "th", "Lao": "lo", "Khmer": "km", "Burmese": "my"},
    **{"Tibetan": "bo", "English": "en", "German": "de", "Korean": "ko", "Hindi": "hi", "Tamil": "ta", "Arabic": "ar"},
}
SPACED = ("English", "German", "Korean", "Hindi", "Tamil", "Arabic")


def _letters(*spans: tuple[int, int]) -> list[str]:
    return [chr(c) for first, last in spans for c in range(first, last + 1) if unicodedata.category(chr(c)) != "Cn"]


SYLLABLES: dict[str, tuple[tuple[list[str], float], ...]] = {
    "Chinese": ((_letters((0x4E00, 0x5AFF)), 1.0),),
    "Japanese": ((_letters((0x4E00, 0x51FF)), 0.4), (_letters((0x3042, 0x3093)), 0.8), (["ー"], 0.1)),
    "Thai": (
        (["เ", "แ", "โ", "ไ"], 0.3),
        (_letters((0xE01, 0xE2E)), 1.0),
        (_letters((0xE31, 0xE39)), 0.6),
        (_letters((0xE48, 0xE4B)), 0.3),
        (_letters((0xE01, 0xE2E)), 0.3),
    ),
    "Lao": (
        (["ເ", "ແ", "ໂ", "ໄ"], 0.3),
        (_letters((0xE81, 0xEAE)), 1.0),
        (_letters((0xEB1, 0xEB9)), 0.6),
        (_letters((0xEC8, 0xECB)), 0.3),
    ),
    "Khmer": (
        (_letters((0x1780, 0x17A2)), 1.0),
        (["្ក", "្រ", "្ន", "្ម"], 0.3),
        (_letters((0x17B6, 0x17C5)), 0.7),
        (_letters((0x1780, 0x17A2)), 0.4),
    ),
    "Burmese": (
        (_letters((0x1000, 0x1020)), 1.0),
        (_letters((0x103B, 0x103E)), 0.3),
        (_letters((0x102B, 0x1032)), 0.7),
        (["က်", "န်", "တ်", "း"], 0.5),
    ),
    "Tibetan": (
        (_letters((0xF40, 0xF69)), 1.0),
        (_letters((0xF90, 0xFB9)), 0.3),
        (_letters((0xF71, 0xF7D)), 0.6),
        (["་"], 1.0),
    ),
    "English": ((list("bcdfghklmnprstvw"), 0.9), (list("aeiou"), 1.0), (list("nrst"), 0.3)),
    "Hindi": ((_letters((0x915, 0x939)), 1.0), (_letters((0x93E, 0x94C)), 0.7), (["ं", "्र"], 0.2)),
}
"""What a syllable is put together from: letters, and how probable it is that there is one of them."""


def vocabulary(language: str, rng: random.Random) -> list[str]:
    """Words of a language that does not exist, written in its script."""

    def word() -> str:
        parts = [x for _ in range(rng.randint(1, 4)) for x, p in SYLLABLES[language] if rng.random() < p]
        return "".join(rng.choice(letters) for letters in parts)

    return list(dict.fromkeys(filter(None, (word() for _ in range(VOCABULARY)))))


def made_texts(language: str, n: int, rng: random.Random, words: int = WORDS) -> list[str]:
    known = vocabulary(language, rng)
    weights = [1 / (rank + 3) for rank in range(len(known))]
    gap = " " if language in SPACED else ""
    return [gap.join(rng.choices(known, weights, k=words)) for _ in range(n)]


def _units(text: str, language: str) -> list[str]:
    """Words with the space after them, or letters with their marks and whatever else is between them."""
    if language in SPACED:
        return re.split(r"(?<= )", text)
    out: list[str] = []
    for c in text:
        if out and unicodedata.category(c).startswith("M"):
            out[-1] += c
        else:
            out.append(c)
    return out


def with_units_replaced(text: str, language: str, rng: random.Random, share: float = 0.01) -> str:
    units = _units(text, language)
    places = [i for i, u in enumerate(units) if language in SPACED or (u[0].isalpha() and not u.isascii())]
    for i in rng.sample(places, round(share * len(places))):
        units[i] = units[rng.choice(places)]
    return "".join(units)


def messages(folder: Path, language: str) -> list[str]:
    """The translated sentences of more than 20 characters, each once."""
    out: dict[str, None] = {}
    for path in sorted(folder.glob(f"**/{LANGUAGES[language]}/**/*.po")):
        field = "msgid" if language == "English" else r"msgstr(?:\[0\])?"
        for found in re.finditer(rf'^{field} ((?:".*"\n)+)', path.read_text(encoding="utf-8"), re.M):
            sentence = "".join(re.findall(r'"(.*)"', found[1])).replace("\\n", " ").replace('\\"', '"')
            if len(sentence) > 20:
                out[sentence] = None
    return list(out)


Pairs = tuple[list[str], list[str]]
"""Texts and their copies."""


def made_pairs(language: str, n: int) -> Pairs:
    rng = random.Random(0)
    texts = made_texts(language, n, rng)
    return texts, [with_units_replaced(t, language, rng) for t in texts]


def real_pairs(known: list[str], n: int) -> Pairs:
    """Copies in which one sentence is another."""
    rng = random.Random(0)
    texts = [rng.sample(known, SENTENCES) for _ in range(n)]
    copies = [list(t) for t in texts]
    for copy in copies:
        copy[rng.randrange(SENTENCES)] = rng.choice(known)
    return [" ".join(t) for t in texts], [" ".join(t) for t in copies]


def edited_pairs(known: list[str], language: str, n: int) -> Pairs:
    """Copies in which one unit in a hundred is another."""
    rng = random.Random(1)
    texts = [" ".join(rng.sample(known, SENTENCES)) for _ in range(n)]
    return texts, [with_units_replaced(t, language, rng) for t in texts]


def similarities(texts: list[str], threshold: float, **options: Any) -> dict[tuple[int, int], float]:
    found = gp.dedupe(texts, threshold, **options).pairs.to_pylist()
    return {(p["a"], p["b"]): p["similarity"] for p in found}


def figures(pairs: Pairs, shingle: str, width: int) -> str:
    """What is found of the pairs, as cells of a table."""
    texts, copies = pairs
    n = len(texts)
    options = {"shingle": shingle, "width": width}
    found = similarities([*texts, *copies], 0.8, **options)
    nearly_all = similarities([*texts, *copies], 0.05, bands=128, rows=1, **options)
    planted = {(i, i + n) for i in range(n) if texts[i] != copies[i]}
    cells = (
        f"{len(found.keys() & planted) / len(planted):.3f}",
        f"{statistics.mean(nearly_all.get(p, 0.0) for p in planted):.3f}",
        f"{len(found.keys() - planted)}",
        f"{max((s for p, s in nearly_all.items() if p not in planted), default=0):.3f}",
    )
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=Path)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--shingle", default="word,auto")
    parser.add_argument("--width", type=int, default=5)
    a = parser.parse_args()
    print("| text | edit | shingle | found | mean similarity | others found | most similar others |")
    print("|---|---|---|---:|---:|---:|---:|")

    def show(text: str, edit: str, pairs: Pairs) -> None:
        for shingle in a.shingle.split(","):
            cells = figures(pairs, shingle, a.width)
            print(f"| {text} | {edit} | {shingle}:{a.width} | {cells} |", flush=True)

    for language in SYLLABLES:
        show(f"{language}, made", "1 % of units", made_pairs(language, a.pairs))
    for language in LANGUAGES if a.messages else ():
        known = messages(a.messages, language)
        if len(known) >= 4 * SENTENCES:
            show(f"{language}, {len(known)} messages", "1 sentence", real_pairs(known, a.pairs))
            show(f"{language}, {len(known)} messages", "1 % of units", edited_pairs(known, language, a.pairs))


if __name__ == "__main__":
    main()
