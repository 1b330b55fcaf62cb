"""A stand-in for MongoDB's search nodes: a proxy in front of a genuine mongod, on the wire.

What is not about search goes through untouched. `createSearchIndexes`, `updateSearchIndex`,
`dropSearchIndex`, `$listSearchIndexes`, `$vectorSearch` and `$search` are answered here, as the
documentation of MongoDB's Vector Search and Search describes them, and mongot's published source
where that is silent: statuses over time, definition versions, validation errors, what is silently
left out of an index, which element types find which, scores.

So the real driver, the commands it really sends and the path of production run from end to end.
Told to be a later version than the mongod behind it, it says so in `buildInfo` and knows that
version's stages: `$rankFusion` of 8.0, `$scoreFusion` of 8.3. In `hello` the mongod's own wire
version stays, for it is what answers.

What it cannot prove: anything about HNSW graphs, recall, quantization, timing, memory or privileges
of a real deployment; Lucene's analysis of texts, for which a few lines stand, and so the scores and
the order of real searches by words; and any behaviour that the documentation does not tell. The
same tests run against a real one where TEST_MONGODB_URI names it.

It imports nothing of the project: it must be able to prove the project wrong.
"""

from tests.search_node.proxy import search_node
from tests.search_node.server import SearchNode

__all__ = ["SearchNode", "search_node"]
