"""Bytes and rates of this design, as measured: what an estimate multiplies.

`tests/pipelines/operations/test_sizes.py` measures the bytes anew in a small run. The rates are
those of docs/performance.md, on two cores with a genuine mongod beside them.
"""

from resources.core.vectors import Dtype, VectorFormat
from resources.embedders.packing import CHARACTERS_PER_TOKEN

BYTES_PER_TOKEN = 4.6
"""Of English text: MiniLM's tokenizer over the quickstart's. Other languages take more tokens."""

LINEAGE = 296
"""Of the lineage of one vector, whatever its text and width."""
DOCUMENT = 450
"""Of a document of the vector store beside text and vector, the lineage among them: ids of 24
characters, no carried fields. BSON, before the server compresses."""

BATCH_VECTOR, BATCH_ROW = 0.832, 68
"""Of a row of a batch: a share of the vector's own float32 (bytes split into streams, zstd), and
the rest."""
PLAN_TEXT, PLAN_ROW = 0.40, 73
"""Of a chunk in the plan's files: a share of its text, and the rest."""
PLANNER_TEXT, PLANNER_WORK, PLANNER_SEEN = 1.01, 298, 34
"""Of a chunk in the planner's working file: with work to do a share of its text and the rest (seen
included); where nothing changed, that it was seen, and where documents are cut into chunks each
document once more. Ids of 24 characters, in no order."""

LOCAL_ROW, LOCAL_GRAPH, LOCAL_ID = 51, 144, 81
"""Of a vector in a local index beside its float32: ids and signatures; the graph, with `max_edges:
16`; and the id as Python holds it."""

SCALAR, BINARY = 3.75, 24.0
"""By how much Vector Search needs less memory for int8 and for bits, its graph included. Source:
"Vector Quantization" and "Performance" of MongoDB's Vector Search documentation."""

COLD_PER_SECOND = 6_328
"""Documents of a whole run of 1,000,000 that embeds all, with a model that takes next to no time;
without `search_index`."""
UNCHANGED_PER_SECOND = 49_372
"""Of a run of 1,000,000 of which nothing changed."""
INDEXED_PER_SECOND = 200_000 / 108
"""Vectors of a local index of 200,000 x 384 with its graph, from nothing."""


def text_bytes(tokens: float) -> float:
    return tokens * BYTES_PER_TOKEN


def estimated_tokens(tokens: float) -> float:
    """What our own cautious estimate, by which batches are cut, makes of so many."""
    return text_bytes(tokens) / CHARACTERS_PER_TOKEN


def vector_bytes(dimensions: int, dtype: Dtype) -> int:
    """Of one vector as it stands in its document."""
    return VectorFormat("float32", dtype).bytes_each(dimensions)


def batch_row(dimensions: int) -> float:
    return 4 * dimensions * BATCH_VECTOR + BATCH_ROW


def plan_row(tokens: float) -> float:
    return text_bytes(tokens) * PLAN_TEXT + PLAN_ROW


def planner_row(tokens: float) -> float:
    return text_bytes(tokens) * PLANNER_TEXT + PLANNER_WORK


def local_row(dimensions: int, *, graph: bool) -> int:
    """Of one vector in a local index's files, which are mapped into memory."""
    return 4 * dimensions + LOCAL_ROW + LOCAL_GRAPH * graph


def search_nodes(dimensions: int, dtype: Dtype) -> dict[str, float]:
    """Bytes of memory of one vector in a `$vectorSearch` index, by what its definition says."""
    whole = 4.0 * dimensions
    if dtype == "packed_bit":
        return {"none": whole / BINARY}
    if dtype == "int8":
        return {"none": whole / SCALAR}
    return {"none": whole, "scalar": whole / SCALAR, "binary": whole / BINARY}
