"""One index on the server, brought in line with what is wanted: created, updated, waited for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

from resources.core.errors import SearchIndexError
from resources.mongodb.deployment import is_atlas
from resources.mongodb.lease import Lease
from resources.search_index.mongodb.lifecycle import (
    ATLAS_LIMITS,
    IndexState,
    already_exists,
    deployment_indexes,
    find_index,
)
from resources.search_index.mongodb.waiting import IndexWait

Differences = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[str]]


class ServerIndex:
    """An index by its name.

    Args:
        collection: Of the index.
        name: Of the index.
        type: `vectorSearch` or `search`.
        differences: Compares the server's definition with the one wanted.
    """

    def __init__(
        self,
        collection: Collection,
        name: str,
        type: str,  # noqa: A002  (the server's own word)
        differences: Differences,
    ) -> None:
        self.collection, self.name, self.type = collection, name, type
        self._differences = differences

    def find(self) -> IndexState | None:
        """As the server lists it.

        Raises:
            SearchIndexError: An index of another type has the name.
        """
        found = find_index(self.collection, self.name)
        if found is not None and found.type != self.type and found.status != "DOES_NOT_EXIST":
            raise SearchIndexError(
                f"{self.collection.full_name} has an index {self.name} of type {found.type}, "
                f"not {self.type}: choose another `name` for search_index"
            )
        return found

    def listed(self) -> IndexState:
        """As the server lists it.

        Raises:
            SearchIndexError: There is no such index.
        """
        state = self.find()
        if state is None:
            raise SearchIndexError(
                f"there is no index {self.name} on {self.collection.full_name}: materialize "
                "search_index first"
            )
        return state

    def find_settled(self, wait: IndexWait, log: Callable[[str], None]) -> IndexState | None:
        """As the server lists it, once it is not being deleted."""
        state = self.find()
        if state is not None and state.status == "DELETING":
            log(f"index {self.name} is being deleted: waiting until it is gone")
            wait.until_gone()
            state = self.find()
        return state

    def different(self, state: IndexState, wanted: Mapping[str, Any]) -> Sequence[str]:
        return self._differences(state.definition, wanted)

    def declare(
        self, state: IndexState | None, wanted: Mapping[str, Any], log: Callable[[str], None]
    ) -> bool:
        """Create or update the index, unless it is declared like this already."""
        if state is None or state.status == "DOES_NOT_EXIST":
            self.create(wanted, log)
            return True
        different = self.different(state, wanted)
        if not different and state.status != "FAILED":
            return False
        why = "; ".join(different) or f"it has failed ({state.message or 'no reason given'})"
        log(f"updating index {self.name}: {why}; until it is built, the old one serves")
        self.collection.update_search_index(self.name, dict(wanted))
        return True

    def create(self, wanted: Mapping[str, Any], log: Callable[[str], None]) -> None:
        database = self.collection.database
        if self.collection.name not in database.list_collection_names():
            # An index needs its collection.
            database.create_collection(self.collection.name)
        there = deployment_indexes(database.client, database.name)
        limits = f", beside {len(there)} of this deployment ({ATLAS_LIMITS})"
        log(f"creating index {self.name}" + (limits if is_atlas(database.client) else ""))
        model = SearchIndexModel(dict(wanted), name=self.name, type=self.type)
        try:
            self.collection.create_search_index(model)
        except OperationFailure as error:
            if not already_exists(error):
                raise
            # Somebody else was faster, with another definition.
            self.collection.update_search_index(self.name, dict(wanted))

    def await_serving(
        self,
        wait: IndexWait,
        before: IndexState | None,
        wanted: Mapping[str, Any],
        *,
        changed: bool,
        lease: Lease | None,
    ) -> IndexState:
        """Wait until the definition serves, and the documents are in.

        Args:
            wait: How long, and where it says so.
            before: The index as it was before it was declared.
            wanted: The definition.
            changed: Whether it was sent.
            lease: Asked at every look.

        Raises:
            SearchIndexError: It fails, is dropped meanwhile, or takes too long.
            LeaseError: Another run has taken the pipeline over.
        """

        def arrived(found: IndexState) -> bool:
            if lease:  # a newer run may have declared another: this one would wait in vain
                lease.check()
            return self._arrived(found, before, wanted, changed=changed)

        was_failed = before is not None and before.status == "FAILED"
        return wait.until_caught_up(wait.until_serving(arrived, was_failed=was_failed))

    def _arrived(
        self,
        found: IndexState,
        before: IndexState | None,
        wanted: Mapping[str, Any],
        *,
        changed: bool,
    ) -> bool:
        """Whether what the server lists is the definition sent, not the one before it."""
        if self.different(found, wanted):
            return False
        if not changed or before is None or before.version is None or found.version is None:
            return True
        return found.version > before.version
