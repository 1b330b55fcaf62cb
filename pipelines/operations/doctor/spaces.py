"""Which space of a pipeline serves, whether it can be searched here, and what is beside it."""

from collections.abc import Iterator

from assets.work.opened import Opened
from pipelines.operations.doctor.finding import Finding, explained
from resources.core.variables import unset
from resources.models import lifecycle

TOPIC, MODEL = "spaces", "serving model"


def look(opened: Opened) -> Iterator[Finding]:
    """What serves and what is beside it; where the settings name another model, the serving one.

    Args:
        opened: As its settings have it, its deployment in reach.
    """
    found = explained(TOPIC, opened, _spaces)
    yield found
    entry = opened.record.entry(opened.record.serving) if found.state != "problem" else None
    if entry is not None and not opened.embeds(entry):
        yield explained(MODEL, opened, lambda of: _model(of.serving))


def _spaces(opened: Opened) -> Finding:
    record = opened.record
    entry = record.entry(record.serving)
    if entry is None:
        return Finding(TOPIC, "ok", "none serves yet: the first run builds it")
    text = f"{entry.space_id} serves, at {entry.path(opened.base_key.path)}"
    others = [each for each in record.entries() if not each.retired and each is not entry]
    for each in others:
        at = each.path(opened.base_key.path)
        text += f"; {each.space_id} is beside it, {record.state(each.space_id)}, at {at}"
    if opened.candidate is None:
        return Finding(TOPIC, "ok", text)
    asked = opened.candidate.space.id
    fix = f"`embeddings run {opened.name}` keeps both up to date"
    return Finding(TOPIC, "note", f"{text}; the settings ask for {asked}", fix)


def _model(serving: Opened) -> Finding:
    provider = serving.embedder.provider
    if missing := sorted(set(unset(provider))):
        name = missing[0]
        fix = f"searches and runs need {name} for the space that serves: set it"
        return Finding(MODEL, "wanted", f"{name} is not set", fix)
    text = provider.check()
    if old := lifecycle.outdated(provider.kind, serving.embedder.facts().model):
        return Finding(MODEL, "note", f"{text}; {old}", old.way_out(serving.name))
    return Finding(MODEL, "ok", text)
