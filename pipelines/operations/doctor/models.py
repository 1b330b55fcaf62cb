"""Is the model one that is known: to the catalogue, and, if asked, to whoever gives it out?"""

from assets.work.opened import Opened
from pipelines.operations.doctor.finding import Finding
from resources.embedders.provider import Provider
from resources.models import catalogue, lifecycle

CATALOGUE, ONLINE = "catalogue", "online"


def look_up(opened: Opened) -> Finding:
    """What the catalogue knows of the embedding model.

    Raises:
        ConfigurationError: The user's own catalogue is wrong.
    """
    provider = opened.embedder.provider
    model = _model(provider)
    entry = catalogue.find(provider.kind, model)
    if entry is None and provider.space_name:  # a gateway that renames it
        entry = catalogue.find(provider.kind, provider.space_name)
    name = f"{provider.kind}/{model}"
    if entry is None:
        local = catalogue.usd_per_million(provider.kind, model) == 0
        unknown = "limits and prompts" if local else "price, width and limits"
        return Finding(
            CATALOGUE,
            "note",
            f"{name} is not in it: its {unknown} are not known here",
            f"is it spelt as the provider has it (`embeddings models`; `embeddings doctor --online`"
            f" asks)? One of your own goes into the file that {catalogue.VARIABLE} names",
        )
    if old := lifecycle.outdated(entry.provider, entry.model):
        return Finding(CATALOGUE, "note", f"{provider.kind}/{old}", old.way_out(opened.name))
    return Finding(CATALOGUE, "ok", f"{name}, {entry.status}")


def ask(opened: Opened) -> Finding:
    """What the provider itself says of the model.

    Raises:
        EmbeddingsError: It has no such model, refuses the key, or does not answer.
    """
    provider = opened.embedder.provider
    said = provider.confirm()
    if said:
        return Finding(ONLINE, "ok", said)
    return Finding(ONLINE, "note", f"nobody can be asked for {_model(provider)}: a run tells")


def _model(provider: Provider) -> str:
    """As the settings name it; a provider of somebody else's may call it otherwise."""
    return str(getattr(provider, "model", "") or provider.facts().model)
