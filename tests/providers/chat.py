"""OpenAI's chat completions, answered by a function of the messages; nothing is understood here."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from tests.providers.behaviour import Behaviour, Request
from tests.providers.openai import OpenAIServer
from tests.providers.server import Refused, Reply

Messages = Sequence[dict[str, Any]]


class ChatServer(OpenAIServer):
    """Args:
    answer: What the model says to these messages; None says nothing.
    finish_reason: Why it stops.
    """

    MODEL = "stub-chat"

    def __init__(
        self,
        answer: Callable[[Messages], str | None],
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
        message = {"role": "assistant", "content": self.answer(messages), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        reply = {
            "id": f"chatcmpl-{request.number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": self.MODEL,
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        return Reply(json.dumps(reply).encode(), headers=self.headers())
