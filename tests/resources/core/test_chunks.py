from resources.core.chunks import Chunk, hash_fields


def test_fields_hash_ignores_order_and_sees_every_change():
    base = {"kind": "film", "year": 1997, "topics": ["sea"]}
    assert hash_fields(base) == hash_fields(dict(reversed(base.items())))
    changed = [{**base, "year": 1998}, {**base, "topics": []}, {"kind": "film", "year": 1997}]
    assert len({hash_fields(fields) for fields in [base, *changed]}) == 4
    assert hash_fields({}) == ""


def test_the_hash_is_that_of_the_exact_text():
    chunk = Chunk.whole(1, "text", {})
    assert chunk.text_hash == (
        "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"  # sha256sum of "text"
    )
    assert Chunk.whole(1, "text ", {}).text_hash != chunk.text_hash
