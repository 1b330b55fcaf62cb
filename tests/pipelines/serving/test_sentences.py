import pytest

from pipelines.serving.sentences import discreet, discreet_values
from resources.core.paths import CODE_ROOT


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot read /home/anna/project/configs/a.yaml", "cannot read …/a.yaml"),
        ("in '/srv/my data/x', line 3", "in '…/my data/x', line 3"),
        ("file:///etc/secret/key.pem is gone", "file://…/key.pem is gone"),
        (r"C:\Users\anna\models\static", "…\\static"),
        ("s3://bucket/folder/part and http://127.0.0.1:3000/runs/5", None),
        ("configs/embedder/voyage.yaml, line 3", None),
        ("mongodb://anna:pass@db.example/?x=1 refuses", "mongodb://***@db.example/?x=1 refuses"),
        (f"{CODE_ROOT}/configs/a.yaml", "…/a.yaml"),
        ("3/4 of a/b are and/or; a filter such as {\"a\": 1}", None),
    ],
)  # fmt: skip
def test_no_folder_and_no_user_is_said(said: str, shown: str | None):
    assert discreet(said) == (said if shown is None else shown)


def test_no_key_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOYAGE_API_KEY", "pa-5ecret")
    assert discreet("401 for pa-5ecret") == "401 for ***"
    found = {"a": ["pa-5ecret", 5, None], "b": {"c": "x"}}
    assert discreet_values(found) == {"a": ["***", 5, None], "b": {"c": "x"}}
