"""Whatever stands in a text, as Markdown it is that text: read by two readers' rules."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from resources.core.markdown import literal, unescaped

# As mdast-util-gfm-autolink-literal, which Dagster's pages use, finds them in what is read: after
# escapes, which therefore do not help.
BARE = re.compile(
    r"https?://[-.\w]+|www\.[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+|mailto:|xmpp:", re.IGNORECASE
)
PIECES = [
    "![](http://127.0.0.1:9/x.png)", "![a][b]", "[b]: http://h.org/x", "[l](javascript:alert(1))",
    "<http://h.org>", "<img src=x onerror=alert(1)>", "<script>", "</div>", "<!-- -->", "www.h.org",
    "https://h.org/a_b*c*", "HTTP://H", "a.b@h.org", "mailto:a@h.org", "//h.org", "@someone", "#12",
    "# head", "- ", "+ ", "* ", "1. ", "12) ", "> ", "```", "~~~", "~~gone~~", "---", "===", "***",
    "___", "__a__", "a_b", "_a_", "*a*", "|", "| a | b |", "| - | - |", "[^1]", "[^1]: note", "$x$",
    "&amp;", "&#60;", "&nbsp;", "\\", "\\<", "`", "``", "` `", "!", "[", "]", "(", ")", ":", "=",
    "\n", "\r\n", "\t", "    ", "\x00", "\x1b[31m", "\u202e", "\ud800", "☂", "word", "-", "_", "5",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map("".join)
harmless = {"text", "text_special", "code_inline", "paragraph_open", "paragraph_close", "inline"}


def reader() -> MarkdownIt:
    # Not what only looks like a name of a host: `films.it` is a file too, and no page links it.
    found = MarkdownIt("gfm-like", {"html": True, "linkify": True})
    found.linkify.set({"fuzzy_link": False})  # type: ignore[union-attr]
    return found


READER = reader()


@given(texts)
@example("`http://a`")
@example("``@`")
@example("\\(")
@example("1) one")
@example("a  ![](http://127.0.0.1/x.png) b")
@example("| a |\n| - |\n| b |")
def test_markdown_of_a_text_shows_the_text_and_does_nothing(text: str):
    shown, kinds, runs = "", set(), []
    for token in READER.parse(literal(text)):
        kinds.add(token.type)
        for inner in token.children or ():
            kinds.add(inner.type)
            shown += inner.content
            runs.append((inner.type, inner.content))
    assert kinds <= harmless
    wanted = re.sub("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd",
                    " ".join(text.split()))  # fmt: skip
    assert shown == wanted
    assert unescaped(literal(text)) == wanted
    # Neighbours are one piece of text to the other reader; code is none.
    joined = "".join(content if kind != "code_inline" else "\n" for kind, content in runs)
    assert not BARE.search(joined)


@pytest.mark.parametrize(
    "sentence",
    [
        "299 vectors are as they were embedded",
        "all vectors are of the space all-minilm-l6-v2-384-1f0c9a7b",
        "3 of 1,200 chunks have no vector: materialize the whole pipeline",
        "shop.films:embedding_v2 also holds 12 of nomic-embed-text-v1-768-0a",
    ],
)
def test_a_plain_sentence_stays_as_it_is(sentence: str):
    assert literal(sentence) == sentence
