"""A document's shard follows from its id and their number, and from nothing else."""

import subprocess
import sys
from collections import Counter

import pytest
from bson import Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from resources.core.errors import ConfigurationError
from resources.core.shards import shard_name, shard_names, shard_number, shard_of, slot_of

IDS = st.one_of(st.integers(), st.text(), st.binary(), st.floats(allow_nan=False), st.none())


def test_it_is_the_same_in_every_process_and_version():
    known = ["d0", "d1", 5, "5", ObjectId("5f50c31e8a7b4a0001e4a7c1")]
    assert [shard_of(each, 10) for each in known] == [1, 0, 3, 4, 6]
    code = "from resources.core.shards import slot_of; print(slot_of('d0'), slot_of(5))"
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.split() == [str(slot_of("d0")), str(slot_of(5))]


def test_ids_that_are_one_to_mongodb_are_in_one_shard():
    for same in ([5, 5.0, Int64(5), Decimal128("5.0")], [0, -0.0]):
        assert len({slot_of(each) for each in same}) == 1
    assert slot_of(5) != slot_of("5")


@given(IDS, st.integers(1, 1000))
def test_every_id_has_a_shard(document_id, shards):
    assert 0 <= shard_of(document_id, shards) < shards
    assert 0 <= slot_of(document_id) < 2**63, "MongoDB keeps it as a number"


def test_shards_are_about_as_large():
    counts = Counter(shard_of(n, 8) for n in range(8_000))
    assert len(counts) == 8
    assert 850 < min(counts.values()) <= max(counts.values()) < 1150


@given(st.integers(2, 300))
def test_names_sort_as_the_shards_do_and_tell_how_many_there_are(shards):
    names = shard_names(shards)
    assert names == sorted(names)
    assert len(set(names)) == shards
    assert [shard_number(name, shards) for name in names] == list(range(shards))
    with pytest.raises(ConfigurationError, match="there is no shard"):
        shard_number(shard_name(0, shards + 1), shards)
