"""How long words take to index and to find, beside SQLite's own FTS5.

Run with `python -m benchmarks.local_text [documents]`.

Measured on 2026-11-26, 2 cores (AMD EPYC) that other work kept busy, seconds and milliseconds of
CPU; 200,000 texts of 18 words, SQLite 3.40.1, the best ten:

                            FTS5's bm25()    here    20 segments, a tenth deleted
    unicode61: built in     1.8 s, 19 MB     4.6 s, 12 MB; merged into one in 3.8 s
    a frequent word         149 ms           4.2 ms   6.8 ms
    five words              250 ms           6.2 ms   11 ms
    64 words                480 ms           17 ms    42 ms
    a rare word             0.0 ms           0.1 ms   0.8 ms
    trigram: built in       6.4 s, 91 MB     12 s, 63 MB; merged into one in 1.7 s
    one word of 6 letters   213 ms           7.4 ms   13 ms
    five words              812 ms           75 ms    100 ms

So: postings as blobs, with FTS5 to tokenise. The words here are of 13 syllables, so that nearly
all documents hold nearly all trigrams: there is no worse case.
"""

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from resources.search_index.local.text.building import TextBuilder
from resources.search_index.local.text.postings import TextSegment
from resources.search_index.local.text.ranking import FullText
from resources.search_index.local.text.tokens import query_terms

VOCABULARY = 60_000
SYLLABLES = ["ka", "lo", "mi", "ter", "sen", "ba", "dru", "ine", "os", "pel", "tri", "va", "ghe"]


def corpus(documents: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 6 to 30 words, the frequencies of which fall as in a language; and those words."""
    random = np.random.default_rng(seed)
    words: list[str] = []
    known: set[str] = set()
    spelling = np.random.default_rng(0)
    while len(words) < VOCABULARY:
        word = "".join(spelling.choice(SYLLABLES, spelling.integers(1, 5)))
        word = word if word not in known else f"{word}{len(words)}"
        known.add(word)
        words.append(word)
    shares = 1 / np.arange(1, VOCABULARY + 1) ** 1.05
    lengths = random.integers(6, 31, documents)
    drawn = random.choice(VOCABULARY, lengths.sum(), p=shares / shares.sum())
    ends = np.cumsum(lengths)
    texts = [
        " ".join(words[number] for number in drawn[end - length : end])
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
    return texts, words


def best(ask: Callable[[], object], times: int = 7) -> str:
    """Milliseconds of CPU."""
    taken: list[float] = []
    for _ in range(times):
        start = time.process_time()
        ask()
        taken.append(time.process_time() - start)
    return f"{min(taken) * 1000:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=int, nargs="?", default=200_000)
    documents = parser.parse_args().documents
    texts, words = corpus(documents, seed=1)
    queries = {
        "one word, in most documents": words[0],
        "five words, frequent to rare": " ".join(words[at] for at in (0, 1, 4, 30, 900)),
        "ten words of a document": " ".join(texts[5].split()[:10]),
        "64 words": " ".join(words[at] for at in range(1, 128, 2)),
        "a rare word": words[20_000],
        "two letters": "ka",
    }
    table = Table(title=f"{documents:,} documents, milliseconds of CPU")
    for column in ("tokenizer", "query", "rows", "FTS5", "here", "20 segments", "10 % pass"):
        table.add_column(column)
    random = np.random.default_rng(3)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        for tokenizer in ("unicode61", "trigram"):
            start = time.process_time()
            with TextBuilder(tokenizer) as builder:
                builder.add(texts)
                builder.write(f"{folder}/{tokenizer}")
            taken = time.process_time() - start
            size = os.path.getsize(f"{folder}/{tokenizer}") / 1e6
            console.print(f"{tokenizer}: built in {taken:.1f} s, {size:.0f} MB", end="; ")

            fts5 = sqlite3.connect(f"{folder}/{tokenizer}.fts5", isolation_level=None)
            fts5.execute(
                f"CREATE VIRTUAL TABLE texts USING fts5(text, content='', tokenize='{tokenizer}')"
            )
            start = time.process_time()
            fts5.execute("BEGIN")
            fts5.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(texts))
            fts5.execute("COMMIT")
            fts5.execute("INSERT INTO texts (texts) VALUES ('optimize')")
            taken = time.process_time() - start
            size = os.path.getsize(f"{folder}/{tokenizer}.fts5") / 1e6
            console.print(f"FTS5 alone {taken:.1f} s, {size:.0f} MB")

            base = TextSegment(f"{folder}/{tokenizer}")
            whole = FullText([base], [None], tokenizer)
            segments, alive = [base], [random.random(documents) > 0.1]
            for number in range(19):
                with TextBuilder(tokenizer) as builder:
                    builder.add(texts[number : documents // 10 : 19])
                    builder.write(f"{folder}/{tokenizer}.{number}")
                segments.append(TextSegment(f"{folder}/{tokenizer}.{number}"))
                alive.append(random.random(len(segments[-1])) > 0.1)
            many = FullText(segments, alive, tokenizer)
            passing = [random.random(documents) < 0.1]
            for name, query in queries.items():
                terms = [term for term in query_terms(query, tokenizer) if not term.prefix]
                quoted = " OR ".join(f'"{term.text.decode()}"' for term in terms)
                ordered = "WHERE texts MATCH ? ORDER BY bm25(texts) LIMIT 10"
                ask = partial(fts5.execute, f"SELECT rowid FROM texts {ordered}", (quoted,))
                table.add_row(
                    tokenizer,
                    name,
                    f"{len(whole.matching(query, documents)):,}",
                    best(lambda ask=ask: ask().fetchall(), 3) if terms else "-",
                    best(partial(whole.matching, query, 10)),
                    best(partial(many.matching, query, 10)),
                    best(partial(whole.matching, query, 10, passing)),
                )
            start = time.process_time()
            with TextBuilder(tokenizer) as builder:
                for segment, mask in zip(segments, alive, strict=True):
                    builder.extend(segment, np.flatnonzero(mask))
                builder.write(f"{folder}/merged")
            Path(folder, "merged").unlink()
            console.print(f"20 segments merged in {time.process_time() - start:.1f} s")
    console.print(table)


if __name__ == "__main__":
    main()
