"""OpenAI's chat completions, answered by a function of the messages; nothing is understood here."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from tests.providers.behaviour import Behaviour, Request, count_tokens
from tests.providers.openai import OpenAIServer
from tests.providers.server import Refused, Reply

Messages = Sequence[dict[str, Any]]


class ChatServer(OpenAIServer):
    """Args:
    answer: What the model says to these messages; None says nothing. A mapping is laid over the
        choice: `{"finish_reason": "length"}`, `{"message": {"refusal": "No."}}`.
    finish_reason: Why it stops.
    """

    MODEL = "stub-chat"

    def __init__(
        self,
        answer: Callable[[Messages], str | Mapping[str, Any] | None],
        behaviour: Behaviour | None = None,
        *,
        finish_reason: str = "stop",
    ) -> None:
        super().__init__(behaviour)
        self.answer, self.finish_reason = answer, finish_reason
        self.asked: list[Messages] = []

    async def respond(self, http: web.Request, request: Request) -> Reply:
        if request.path != "/chat/completions" or request.method != "POST":
            return await super().respond(http, request)
        body = json.loads(await http.read())
        if body.get("model") != self.MODEL:
            words = f"The model `{body.get('model')}` does not exist."
            raise Refused(404, words, code="model_not_found")
        messages = body.get("messages")
        if not messages or any(set(each) != {"role", "content"} for each in messages):
            raise Refused(400, "Invalid 'messages'.", param="messages")
        self.asked.append(messages)
        said = self.answer(messages)
        over = dict(said) if isinstance(said, Mapping) else {"message": {"content": said}}
        blank = {"role": "assistant", "content": None, "refusal": None}
        message = {**blank, **over.pop("message", {})}
        choice = {"index": 0, "finish_reason": self.finish_reason, **over, "message": message}
        sent = sum(count_tokens(each["content"]) for each in messages)
        back = count_tokens(message["content"] or "")
        request.billed = True
        reply = {
            "id": f"chatcmpl-{request.number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": self.MODEL,
            "choices": [choice],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": back,
                "total_tokens": sent + back,
            },
        }
        return Reply(json.dumps(reply).encode(), headers=self.headers())
