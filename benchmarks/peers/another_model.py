"""What becomes of vectors when the model is another: every contestant loads, and loads again.

Run with `python -m benchmarks.peers.another_model`: two static models of one width, one server, the
same texts. Vectors of the second model that are there then, and those that the first one left.
"""

import argparse
import secrets
import tempfile
from pathlib import Path

import numpy as np
import pymongo
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from benchmarks.peers.contestants import CONTESTANTS, Contestant, Document, Ours
from tests.models import build_static_model
from tests.servers import genuine_mongod, mongod

CLOSE = 1e-3
"""How far a stored direction may be from what the model gave."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    count: int = parser.parse_args().documents
    documents: list[Document] = [
        {"_id": f"d{i}", "text": f"text number {i} of {count}, river {i % 7}", "kind": "test"}
        for i in range(count)
    ]
    table = Table("", "of the second model", "of the first", "of neither", "said")
    binary = genuine_mongod()
    assert binary is not None
    with tempfile.TemporaryDirectory() as folder, mongod(binary) as uri:
        models = [build_static_model(Path(folder) / f"model-{i}", seed=i) for i in (1, 2)]
        for kind in CONTESTANTS.values():
            table.add_row(kind.name, *_twice(kind, uri, models, documents, Path(folder)))
    Console().print(table)


def _twice(
    kind: type[Contestant], uri: str, models: list[Path], documents: list[Document], folder: Path
) -> list[str]:
    database, home = f"peers_{secrets.token_hex(4)}", folder / kind.name
    home.mkdir()
    said = ""
    for model in models:
        contestant = kind(uri, database, model, home)
        if isinstance(contestant, Ours):
            contestant.write_source(documents)
        try:
            contestant.load(documents)
        except (RuntimeError, pymongo.errors.PyMongoError) as error:
            said = str(error)[:60]
    made = [_directions(model, documents) for model in models]
    first, second, neither = 0, 0, 0
    for document in contestant.vectors.find({"embedding": {"$exists": True}}):
        vector = document["embedding"]
        numbers = vector.as_vector().data if hasattr(vector, "as_vector") else vector
        direction = np.asarray(numbers) / np.linalg.norm(numbers)
        near = [np.abs(each - direction).max(axis=1).min() < CLOSE for each in made]
        first, second = first + near[0], second + near[1]
        neither += not any(near)
    return [str(second), str(first), str(neither), said]


def _directions(model: Path, documents: list[Document]) -> np.ndarray:
    loaded = SentenceTransformer(str(model), device="cpu")
    # LlamaIndex embeds a text with its metadata before it.
    forms = ("{text}", "kind: {kind}\n\n{text}")
    vectors = loaded.encode([form.format(**each) for form in forms for each in documents])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
