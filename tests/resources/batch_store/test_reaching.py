"""A batch store that cannot be used says so in one sentence, whatever its library raises."""

import pytest
from fsspec.implementations.ftp import FTPFileSystem

from resources.batch_store.files import Files
from resources.batch_store.reaching import unreached
from resources.core.errors import BatchStoreError
from tests import servers


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


@pytest.fixture
def s3(monkeypatch):
    """An object store on a socket, with the bucket `there`."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install s3fs 'moto[server]'")
    server = pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server]'")
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    host, port = started.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "ada",
        "AWS_SECRET_ACCESS_KEY": "sekret9",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("there")
    yield monkeypatch
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()


def test_the_way_out_of_a_missing_bucket_and_of_missing_credentials(s3):
    import s3fs

    with pytest.raises(BatchStoreError, match="make that bucket"):
        Files("s3://absent/x").check_writable()
    s3fs.S3FileSystem().mkdir("absent")
    files = Files("s3://absent/x")
    files.check_writable()
    assert files.names("plans") == []
    with pytest.raises(FileNotFoundError):
        files.read_json("plans/none.json")
    s3.delenv("AWS_ACCESS_KEY_ID")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BatchStoreError, match="AWS_ACCESS_KEY_ID"):
        Files("s3://absent/x").check_writable()
