"""The application: the page, and the same as JSON."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pipelines.operations.search import Searcher, open_searcher
from pipelines.serving import answers
from pipelines.serving.access import SESSION, SESSION_SECONDS, Access, Guard, refused
from pipelines.serving.offered import Offered
from pipelines.serving.openapi import description
from pipelines.serving.page import Page, login_page, search_page
from pipelines.serving.question import Question, from_body, from_parameters
from pipelines.serving.searchers import Searchers
from pipelines.serving.sentences import UNEXPECTED, discreet, status_of
from resources.core.errors import EmbeddingsError

MAX_BODY = 4 * 1024 * 1024
MAX_LOGIN = 4_096

log = logging.getLogger("embeddings.serve")

T = TypeVar("T")


class Application:
    """The routes, over the pipelines that are offered.

    Args:
        offered: The pipelines.
        access: Who may ask.
        dagster_url: Where Dagster's UI shows runs.
        searchers: Those that are open; made by default.

    Attributes:
        closed: After shutdown, whether every search had ended.
    """

    def __init__(
        self,
        offered: Offered,
        access: Access,
        dagster_url: str,
        searchers: Searchers | None = None,
    ) -> None:
        self.offered, self.access = offered, access
        self.dagster_url = dagster_url.rstrip("/")
        self.searchers = searchers or Searchers(
            lambda name: open_searcher(offered.pipeline(name), offered.overrides)
        )
        self.closed = True
        self._description = description(with_token=bool(access.token))
        routes = [
            Route("/", self.page, methods=["GET"]),
            Route("/", self.login, methods=["POST"]),
            Route("/pipelines", self.pipelines),
            Route("/pipelines/{name}", self.pipeline),
            Route("/search", self.search, methods=["GET", "POST"]),
            Route("/openapi.json", self.openapi),
            Route("/healthz", self.health),
        ]
        handlers: dict[Any, Callable[..., Any]] = {
            HTTPException: _http_error,
            EmbeddingsError: _said,
            Exception: _unexpected,
        }
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        self.asgi = Guard(app, access)

    async def page(self, request: Request) -> Response:
        if not self.access.lets_in(request):
            return _html(login_page(), 401)
        return _html(search_page())

    async def login(self, request: Request) -> Response:
        """Take the token of the page's form, and give a session for it."""
        form = parse_qs((await _body(request, MAX_LOGIN)).decode("utf-8", "replace"))
        if not self.access.token or not self.access.is_token(form.get("token", [""])[0]):
            return _html(login_page(wrong=True), 401)
        # Only ever to this page, whatever the address holds besides.
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            SESSION,
            self.access.session(),
            max_age=SESSION_SECONDS,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def pipelines(self, request: Request) -> Response:
        found = await run_in_threadpool(self.offered.listing)
        entries = [
            {
                "name": each.name,
                "fault": discreet(each.fault),
                "missing": self.offered.missing(each.name),
            }
            for each in found
        ]
        return JSONResponse({"pipelines": entries})

    async def pipeline(self, request: Request) -> Response:
        name = request.path_params["name"]
        space = request.query_params.get("space")
        return JSONResponse(
            await self._ask(name, lambda searcher: answers.about(name, searcher, space))
        )

    async def search(self, request: Request) -> Response:
        question: Question
        if request.method == "POST":
            question = from_body(await _body(request, MAX_BODY))
        else:
            question = from_parameters(request.query_params)
        options = question.options()

        def answered(searcher: Searcher) -> bytes:
            found = searcher.search_many(question.asked, **options)
            return answers.reply(question, found, self._run_url)

        content = await self._ask(question.pipeline, answered)
        return Response(content, media_type="application/json")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(self._description)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ask(self, name: str, question: Callable[[Searcher], T]) -> T:
        if not self.offered.sound(name):
            await run_in_threadpool(self.offered.pipeline, name)
        return await self.searchers.ask(name, question)

    def _run_url(self, run: str) -> str:
        return f"{self.dagster_url}/runs/{quote(run, safe='')}"

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        listing = asyncio.ensure_future(run_in_threadpool(self.offered.listing))
        listing.add_done_callback(lambda done: done.cancelled() or done.exception())
        yield
        self.closed = await self.searchers.close()


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"the body is larger than {most:,} bytes")
    return bytes(body)


def _html(page: Page, status: int = 200) -> Response:
    return HTMLResponse(page.content, status, headers=page.headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    sentences = {
        404: "there is nothing at this address; see /openapi.json for what there is",
        405: "this address takes no such request; see /openapi.json",
    }
    answer = refused(error.status_code, sentences.get(error.status_code, error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 413:
        answer.headers["Connection"] = "close"  # the rest is not read
    return answer


async def _said(request: Request, error: EmbeddingsError) -> Response:
    status = status_of(error)
    if status >= 500:
        log.warning("%s", error)
    return refused(status, discreet(str(error)))


async def _unexpected(request: Request, error: Exception) -> Response:
    return refused(500, UNEXPECTED)  # the server logs the error
