"""Models of one family, whose vectors can be compared: documents by one, queries by another."""

from collections.abc import Collection, Sequence

from resources.embedders.resource import EmbedderResource
from resources.models import catalogue


def family(embedder: EmbedderResource) -> Sequence[str]:
    """The models that share the embedder's space, itself among them; empty where it is alone."""
    provider = embedder.provider
    if provider.space_name:
        return ()
    name = catalogue.family(provider.kind, embedder.facts().model)
    found = catalogue.members(provider.kind, name)
    return found if len(found) > 1 else ()


def of_its_own(embedder: EmbedderResource) -> EmbedderResource:
    """The same in a space that no other member of its family shares."""
    model = embedder.facts().model
    # A family may be called as one of its members.
    shared = catalogue.family(embedder.provider.kind, model)
    name = f"{model}-alone" if model == shared else model
    provider = embedder.provider.model_copy(update={"space_name": name})
    return embedder.model_copy(update={"provider": provider})


def described(documents: Collection[str], queries: str) -> str:
    """Who embeds what, where these are members of one family; empty where it is all one model."""
    if set(documents) <= {queries}:
        return ""
    return f"documents by {' and '.join(sorted(documents))}, queries by {queries}"
