"""Which text is to blame for a request that fails, however the server says it.

A request that has had its tries is cut to pieces, down to the texts at fault. Nothing is cut, and
no text blamed, unless a text known to pass passes after the failure: an outage, a wrong key or a
wrong setting fails every text, and ends the run instead.

What a text that is never answered costs: two time-outs in its request, one at each cut into eight,
and two alone, so about seven of `timeout_seconds` for one in 2,048, while other requests go on.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from resources.core.errors import ProviderError
from resources.embedders.base import Refusal
from resources.embedders.failures import RequestFailed
from resources.embedders.packing import pack
from resources.embedders.replies import Rows
from resources.embedders.sending import Batch, Sender, Tries

# What a text must look like that no provider refuses: tells a bad text from bad settings.
HARMLESS = "a"

_SILENT_PARTS = 8
"""Each cut after a time-out costs another one: fewer of them, in more parts."""
_ALONE = 8
"""So few bad rows of a good reply are asked for again one by one."""
_MISNUMBERED = 2
"""Requests whose rows made no sense together, before all texts go alone."""


class Blame:
    """Embeds batches, each text for itself to blame.

    Args:
        limits: Of `pack`.
        attempts: Tries of a request at first.
        manners: How many ways of asking for the same the provider knows, see `Sender.manner`.
        log: Told what changes for all requests.
    """

    def __init__(
        self,
        sender: Sender,
        limits: dict[str, int],
        *,
        attempts: int,
        manners: int,
        log: Callable[[str], None],
    ) -> None:
        self._sender, self._limits, self._log = sender, dict(limits), log
        self._tries = Tries(attempts)
        again = Tries.again()
        self._again = replace(again, failed=min(attempts, again.failed))
        self._manners = manners
        self._checking = asyncio.Lock()
        self._misnumbered = 0

    async def embed(self, batch: Batch) -> None:
        pieces = pack(batch.texts, **self._limits)
        await asyncio.gather(*(self._piece(batch, piece, self._tries) for piece in pieces))

    async def _piece(
        self, batch: Batch, positions: Sequence[int], tries: Tries, *, known: bool = False
    ) -> None:
        """Embed some of the texts; `known` if others have passed between failures of this one."""
        try:
            texts = [batch.texts[at] for at in positions]
            keep = partial(_keep, batch, positions)
            rows = await self._sender.tried(batch, texts, tries, keep=keep)
            await self._again_for_bad(batch, positions, rows)
        except ProviderError as error:
            batch.error = batch.error or error
        except RequestFailed as failure:
            try:
                await self._failed(batch, positions, tries, failure, known=known)
            except ProviderError as error:
                batch.error = batch.error or error

    async def _again_for_bad(self, batch: Batch, positions: Sequence[int], rows: Rows) -> None:
        bad = [at for row, at in enumerate(positions) if row in rows.faults]
        if bad:
            parts = [[at] for at in bad] if len(bad) <= _ALONE else [bad]
            # Those that came well show that the server works.
            await self._parts(batch, parts, known=True)

    async def _parts(
        self, batch: Batch, parts: Sequence[Sequence[int]], *, known: bool = False
    ) -> None:
        pieces = (self._piece(batch, part, self._again, known=known) for part in parts)
        await asyncio.gather(*pieces)

    async def _failed(
        self,
        batch: Batch,
        positions: Sequence[int],
        tries: Tries,
        failure: RequestFailed,
        *,
        known: bool,
    ) -> None:
        works = await self._works(batch, failure, alone=len(positions) == 1)
        if not works or failure.manner != self._sender.manner:
            await self._piece(batch, positions, tries, known=known)
        elif failure.cut_short:
            left = replace(
                tries,
                failed=tries.failed - failure.tries,
                silent=max(1, tries.silent - failure.timed_out),
            )
            await self._piece(batch, positions, left, known=known)
        elif len(positions) > 1:
            await self._parts(batch, self._cut(positions, failure))
        elif known or failure.others_passed or failure.kind in ("refused", "misfit"):
            batch.refuse(positions[0], Refusal(failure.said, failure.lasting))
        else:
            # It may have been an outage that ended just now: once more, between two that pass.
            await self._piece(batch, positions, Tries(1, throttled=1), known=True)

    def _cut(self, positions: Sequence[int], failure: RequestFailed) -> list[Sequence[int]]:
        parts = 2
        if failure.timed_out:
            parts = _SILENT_PARTS
        if failure.misnumbered:
            # One row can only be that of the one text.
            parts = len(positions)
            self._misnumbered += 1
            if self._misnumbered == _MISNUMBERED:
                self._limits["max_texts"] = 1
                self._log(f"{failure}: from now on every text goes in a request of its own")
        step = -(-len(positions) // parts)
        return [positions[at : at + step] for at in range(0, len(positions), step)]

    def _other_manner(self, failure: RequestFailed) -> bool:
        """Ask in another way if the server says that it does not take this one."""
        sender, said = self._sender, failure.said.lower()
        complains = "encoding_format" in said or "base64" in said
        last = sender.manner + 1 == self._manners
        if last or sender.manner_works or not complains or failure.kind == "throttled":
            return False
        sender.manner += 1
        self._log(f"{failure}: asking in another way from now on")
        return True

    async def _works(self, batch: Batch, failure: RequestFailed, *, alone: bool) -> bool:
        """Whether the server embeds what it is known to embed, after the failure.

        Where it does if asked in another manner, it is asked so from now on. Where it refuses
        all texts for speed, it cannot be said.

        Raises:
            ProviderError: It does not.
        """
        sender = self._sender
        if failure.kind == "fatal":
            raise sender.give_up(str(failure))
        async with self._checking:
            sender.check()
            if failure.manner != sender.manner or self._other_manner(failure):
                return True
            # Of a refusal many texts share, it is enough to know that it is not for the settings.
            since = failure.at if alone or failure.kind != "refused" else float("-inf")
            if sender.passed_at > since and not sender.suspicious:
                return True
            down = sender.suspicious
            refusal = await self._probed(batch, failure)
            if refusal is None:
                return True
            if failure.kind == refusal.kind == "throttled":
                return False
            raise self._end(failure, refusal, down=down)

    async def _probed(self, batch: Batch, failure: RequestFailed) -> RequestFailed | None:
        """Why even a harmless text does not pass; None if one does."""
        sender = self._sender
        # What a wrong key or a silent server says, it says every time.
        once = failure.kind == "forbidden" or failure.timed_out
        # Where it only has to wait for its turn, it waits.
        throttled = 1 if failure.kind == "throttled" else sys.maxsize
        tries = replace(Tries(1) if once else self._again, silent=1, throttled=throttled)
        refusal = await self._asked(batch, HARMLESS, tries)
        if refusal is None:
            return None
        if refusal.kind != "forbidden" and not sender.manner_works:
            was = sender.manner
            for manner in range(self._manners):
                if manner == was:
                    continue
                sender.manner = manner
                if await self._asked(batch, HARMLESS, tries) is None:
                    self._log(f"{refusal}: asking in another way from now on")
                    return None
            sender.manner = was
        if sender.passed and refusal.kind not in ("forbidden", "throttled"):
            # It may be that just this text is too short for it.
            shortest = min(sender.passed, key=len)
            if shortest != HARMLESS and await self._asked(batch, shortest, tries) is None:
                return None
        return refusal

    async def _asked(self, batch: Batch, text: str, tries: Tries) -> RequestFailed | None:
        try:
            await self._sender.tried(batch, [text], tries, probe=True)
        except RequestFailed as failure:
            return failure
        return None

    def _end(self, failure: RequestFailed, refusal: RequestFailed, *, down: bool) -> ProviderError:
        sender = self._sender
        if failure.kind == "misfit" and refusal.kind == "misfit":
            return sender.end(ProviderError(str(failure)))
        if failure.kind == "refused" and refusal.kind in ("refused", "misfit"):
            return sender.give_up(f"it refuses every text: {failure}")
        if "forbidden" in (failure.kind, refusal.kind):
            return sender.give_up(str(failure if failure.kind == "forbidden" else refusal))
        if failure.kind not in ("transient", "throttled"):
            failure = refusal
        if down:
            return sender.give_up(
                f"{sender.in_a_row} requests in a row failed, the last: {failure}; the run stops, "
                "and the next one goes on from here",
                passing=True,
            )
        passing = failure.kind in ("transient", "throttled")
        return sender.give_up(f"{failure}; tried {failure.tries} times", passing=passing)


def _keep(batch: Batch, positions: Sequence[int], rows: Rows) -> None:
    """The good rows were paid for; the others are asked for again."""
    batch.finish(
        {at: rows.vectors[row] for row, at in enumerate(positions) if row not in rows.faults}
    )
