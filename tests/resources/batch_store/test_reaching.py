"""A batch store that cannot be used says so in one sentence, whatever its library raises."""

from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.ftp import FTPFileSystem

from resources.batch_store.files import Files
from resources.batch_store.reaching import unreached
from resources.core.errors import BatchStoreError
from tests import servers
from tests.object_store import BUCKET, ObjectStore, object_store


def test_one_that_nobody_serves():
    """Over a real socket, by a file system that connects at once."""
    port = servers.free_port()
    FTPFileSystem.clear_instance_cache()
    with pytest.raises(BatchStoreError) as raised:
        Files(f"ftp://ada:sekret9@127.0.0.1:{port}/batches")
    said = str(raised.value)
    assert f"the batch store ftp://127.0.0.1:{port}/batches cannot be used (" in said
    assert "Connection refused" in said
    assert "sekret9" not in said
    assert "see that it runs and that this machine reaches it" in said


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        ("The specified bucket does not exist", "make that bucket"),
        ("Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
        ("The config profile (nope) could not be found", "AWS_PROFILE"),
        ("The AWS Access Key Id you provided does not exist", "AWS_ACCESS_KEY_ID"),
        ("Forbidden", "allow its user to list, read, write and delete"),
        ("Access Denied", "allow its user to list, read, write and delete"),
        ('Parameter validation failed:\nInvalid bucket name "A_b!"', "correct the bucket's name"),
        ("Invalid endpoint: localhost:99", "http:// included"),
        ('Could not connect to the endpoint URL: "http://127.0.0.1:9/a"', "AWS_ENDPOINT_URL"),
        ("", "see that it runs"),
    ],
)
def test_words_that_s3fs_and_botocore_were_heard_to_say(words: str, way_out: str):
    said = str(unreached("s3://there/x", RuntimeError(words)))
    assert way_out in said
    assert len(said.splitlines()) == 1
    assert said.index(": ") == said.index("): ") + 1, "`doctor` divides it where the way out begins"


@pytest.mark.parametrize("name", ["my-bucket", "bucket", "forbidden", "credentials"])
def test_a_file_that_is_not_there_is_no_fault_of_the_store_whatever_its_name(name: str):
    files = Files(f"memory://{name}/x")
    files.check_writable()
    assert files.names("batches") == []
    with pytest.raises(FileNotFoundError):
        files.read_json("nothing.json")


@pytest.fixture(scope="module")
def shared_store() -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as made:
        yield made


@pytest.fixture
def s3(shared_store: ObjectStore) -> Iterator[ObjectStore]:
    """An object store on a socket."""
    shared_store.counted()
    yield shared_store
    shared_store.well()


def test_the_way_out_of_a_missing_bucket_and_of_missing_credentials(s3, monkeypatch):
    import s3fs

    with pytest.raises(BatchStoreError, match="make that bucket"):
        Files("s3://absent/x").check_writable()
    s3fs.S3FileSystem().mkdir("absent")
    files = Files("s3://absent/x")
    files.check_writable()
    assert files.names("plans") == []
    with pytest.raises(FileNotFoundError):
        files.read_json("plans/none.json")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BatchStoreError, match="AWS_ACCESS_KEY_ID"):
        Files("s3://absent/x").check_writable()
    s3fs.S3FileSystem.clear_instance_cache()


def test_credentials_that_have_expired(s3: ObjectStore):
    files = Files(f"s3://{BUCKET}/expired")
    files.write("a/b", b"x")
    s3.expired = lambda method, path: True
    for attempt in (
        lambda: files.write("a/c", b"x"),
        lambda: files.names("a"),
        lambda: files.read_json("a/b"),
    ):
        with pytest.raises(BatchStoreError, match=r"token has expired.*renew its credentials"):
            attempt()


def test_what_costs_one_request_there(s3: ObjectStore):
    files = Files(f"s3://{BUCKET}/counted")
    table = pa.table({"a": [1, 2, 3]})
    s3.counted()
    files.check_writable()
    assert s3.counted() == {"PUT": 1, "DELETE": 1}
    files.write_table(table, "folder/t.parquet")
    assert files.read_table("folder/t.parquet").equals(table)
    assert files.names("folder") == ["t.parquet"]
    assert s3.counted() == {"PUT": 1, "GET": 1, "LIST": 1}
    with pytest.raises(FileNotFoundError):
        files.read_json("folder/none.json")
    assert s3.counted()["GET"] == 1


def test_an_upload_that_is_cut_off_is_made_again(s3: ObjectStore):
    files = Files(f"s3://{BUCKET}/cut")
    before = s3.cuts
    s3.cut = lambda method, path: s3.cuts == before
    files.write("whole", b"x" * 100_000)
    assert s3.cuts == before + 1
    with fsspec.open(f"s3://{BUCKET}/cut/whole") as file:
        assert file.read() == b"x" * 100_000
