import secrets
from collections.abc import Iterator

import pytest

from tests.workshop import Workshop

KINDS = ("film", "play", "song")


@pytest.fixture
def films(tmp_path, mongod_uri, static_model) -> Iterator[Workshop]:
    """Thirty texts, one chunk each, not yet run."""
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write(
        [
            {"_id": n, "text": f"the {KINDS[n % 3]} number {n}", "kind": KINDS[n % 3]}
            for n in range(30)
        ]
    )
    yield made
    made.client.drop_database(made.database)
    made.client.close()
