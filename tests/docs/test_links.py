"""Every link within the project leads to a file that is there, and to a heading that it has."""

import pytest

from tests.docs.markdown import Document, documents

DOCUMENTS = documents()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Document):
    for target, place in document.links():
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (document.path.parent / file).resolve() if file else document.path
        assert path.exists(), f"{place}: {target}"
        if anchor:
            assert anchor in Document(path).anchors(), f"{place}: {target}"


def test_readme_leads_to_every_page():
    readme, *others = DOCUMENTS
    linked = {(readme.path.parent / target.split("#")[0]).resolve() for target, _ in readme.links()}
    assert [other.name for other in others if other.path not in linked] == []


def test_a_page_lists_what_it_holds():
    for document in DOCUMENTS:
        if document.path.parent.name == "docs" and not document.generated:
            listed = {target[1:] for target, _ in document.links() if target.startswith("#")}
            text = document.path.read_text("utf-8")
            second = {line[3:] for line in text.splitlines() if line.startswith("## ")}
            assert len(listed) >= len(second), document.name
