"""Ask OpenAI, or a server that speaks its API, whether it has a model; costs nothing."""

from typing import TYPE_CHECKING

from resources.core.errors import ProviderError
from resources.embedders.failures import of_openai_sdk
from resources.embedders.settings import CONFIRM_SECONDS, OPENAI_KEY

if TYPE_CHECKING:
    from resources.embedders.openai import OpenAIProvider

_SHOWN = 10
"""Models of a server that are named where the wanted one is not there."""


def confirm(provider: "OpenAIProvider") -> str:
    """What the server says of the model; empty where it cannot be asked for one.

    Raises:
        ProviderError: It has not got it, refuses the key, or does not answer.
    """
    import openai

    with openai.OpenAI(
        api_key=provider.api_key,
        base_url=provider.base_url,
        max_retries=0,
        timeout=min(provider.timeout_seconds, CONFIRM_SECONDS),
    ) as client:
        where = client.base_url.host
        try:
            found = client.models.retrieve(provider.model)
            return f"{where} has {found.id}"
        except openai.NotFoundError as error:
            known = _listed(client)
            if known is None:
                return ""  # it has no such pages: many servers serve one model, under any name
            if provider.model in known:
                return f"{where} has {provider.model}"
            listed = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
            raise ProviderError(
                f"{where} has no model {provider.model}: choose another `model`; it has: "
                f"{listed or 'none'}"
            ) from error
        except openai.OpenAIError as error:
            failed = of_openai_sdk(error, provider.api_key, OPENAI_KEY)
            raise ProviderError(
                f"{where} does not confirm {provider.model}: {failed}",
                passing=failed.kind in ("transient", "throttled"),
            ) from error


def _listed(client: object) -> list[str] | None:
    """The models that the server names; None where it names none."""
    import openai

    assert isinstance(client, openai.OpenAI)
    try:
        return sorted(model.id for model in client.models.list())
    except openai.OpenAIError:
        return None
