import pytest

from resources.core.store_key import StoreKey


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (StoreKey("db", "vectors", "embedding"), "db.vectors:embedding"),
        (StoreKey("db", "a.b", "meta.embedding"), "db.a.b:meta.embedding"),
        (StoreKey("db", "vectors", "dc:title"), "db.vectors:dc:title"),
    ],
)
def test_a_key_is_written_down_and_read_back(key: StoreKey, name: str) -> None:
    assert (str(key), StoreKey.parse(name)) == (name, key)
    assert key.index("vector_index") == f"{name}:vector_index"
