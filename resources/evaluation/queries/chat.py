"""A chat model that writes questions: one request for one document, through the openai SDK."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resources.embedders.failures import of_openai_sdk
from resources.embedders.packing import estimate_tokens
from resources.embedders.words import shortened

PROMPT = (
    "You write test questions for a search engine. From the document that follows, write {count} "
    "question(s) that a person would ask who does not know the document, needs what it says, and "
    "would be well served by it. Do not copy its sentences, do not speak of 'the document', make "
    "each question understandable by itself, and write in the document's language. Answer with a "
    "JSON array of {count} strings, and nothing else."
)
QUESTION_TOKENS = 40
"""That a question may take, for the estimate."""

_FENCE = re.compile(r"\A```\w*\s*(.*?)\s*```\Z", re.DOTALL)
_LONGEST = 1_000
"""Characters of a question."""


@dataclass(frozen=True)
class Asked:
    """What became of one document.

    Attributes:
        questions: That the model wrote.
        refused: Why there are none; empty where there are.
        tokens_in: Billed, as the server says; likewise `tokens_out`.
        ends: Nothing else is to be asked either: no key, no credit.
        down: The server failed, whatever it was asked.
    """

    questions: Sequence[str] = ()
    refused: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    ends: bool = False
    down: bool = False


class ChatModel:
    """Args:
    model: By the server's name.
    key: Of the API; empty for a server that asks for none.
    variable: That the key is in, for messages.
    base_url: Another server than OpenAI's.
    retries: Of the SDK, for what fails by chance.
    seconds: That an answer may take.
    """

    def __init__(
        self, model: str, *, key: str, variable: str, base_url: str | None, retries: int,
        seconds: float,
    ) -> None:  # fmt: skip
        import openai

        self._model, self._key, self._variable = model, key, variable
        # The SDK insists on a key; a server that asks for none looks at none.
        self._client = openai.OpenAI(
            api_key=key or "none", base_url=base_url, max_retries=retries, timeout=seconds
        )

    def close(self) -> None:
        self._client.close()

    def ask(self, prompt: str, text: str, count: int) -> Asked:
        """Questions that a text answers; any thread may ask."""
        import openai

        try:
            reply = self._client.chat.completions.create(
                model=self._model,
                messages=[
                    {"role": "system", "content": instructions(prompt, count)},
                    {"role": "user", "content": text},
                ],
            )
        except openai.APIError as error:
            failed = of_openai_sdk(error, self._key, self._variable)
            return Asked(
                refused=str(failed),
                ends=failed.kind in ("forbidden", "fatal") or _unknown_model(error),
                down=failed.kind in ("transient", "throttled"),
            )
        except ValueError as error:  # a body that is no JSON
            return Asked(refused=f"the reply cannot be read ({error})", down=True)
        return _read(reply, count)


def instructions(prompt: str, count: int) -> str:
    return prompt.replace("{count}", str(count))


def tokens(prompt: str, text: str, count: int) -> tuple[int, int]:
    """Estimated, rather too many than too few: of what is sent, and of what comes back."""
    sent = estimate_tokens(instructions(prompt, count)) + estimate_tokens(text)
    return sent, count * QUESTION_TOKENS


def _unknown_model(error: Exception) -> bool:
    return getattr(error, "status_code", None) == 404


def _read(reply: Any, count: int) -> Asked:
    usage = getattr(reply, "usage", None)
    billed = (
        getattr(usage, "prompt_tokens", None) or 0,
        getattr(usage, "completion_tokens", None) or 0,
    )
    choices = getattr(reply, "choices", None)
    if not choices:
        return Asked((), "the reply holds no answer", *billed)
    message, reason = choices[0].message, choices[0].finish_reason
    if message is not None and getattr(message, "refusal", None):
        return Asked((), f"the model refuses: {shortened(message.refusal)}", *billed)
    if reason == "content_filter":
        return Asked((), "the server's content filter has cut the answer", *billed)
    content = (message.content if message is not None else None) or ""
    if not content.strip():
        return Asked((), f"the answer is empty (finish_reason {reason})", *billed)
    if reason == "length":
        return Asked((), "the answer was cut off for its length", *billed)
    questions = _questions(content)
    if not questions:
        start = shortened(" ".join(content.split())[:80])
        return Asked((), f"the answer is no JSON array of questions: {start}", *billed)
    return Asked(questions[:count], "", *billed)


def _questions(content: str) -> list[str]:
    text = content.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(found, dict) and len(found) == 1:
        (found,) = found.values()  # {"questions": […]}
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return []
    cleaned = (" ".join(each.encode("utf-8", "replace").decode().split()) for each in found)
    return [each for each in dict.fromkeys(cleaned) if 0 < len(each) <= _LONGEST]
