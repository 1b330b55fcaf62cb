"""The name of a vector store: which path of which collection holds the vectors."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class StoreKey:
    """A path of a collection; as a string `database.collection:path`, as it is written down.

    Read back, what follows the first colon is the path.
    """

    database: str
    collection: str
    path: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.path}"

    @property
    def namespace(self) -> str:
        """`database.collection`."""
        return f"{self.database}.{self.collection}"

    def index(self, name: str) -> str:
        """The name in the registry of an index over this path."""
        return f"{self}:{name}"

    @classmethod
    def parse(cls, name: str) -> "StoreKey":
        """The key that has this name."""
        namespace, _, path = name.partition(":")
        database, _, collection = namespace.partition(".")
        return cls(database, collection, path)


def placed(name: str, place: str) -> str:
    """A path, or the name of an index, of a space that lies beside a pipeline's first.

    Args:
        name: Of the first one's.
        place: Id of the space; empty for the first.
    """
    return f"{name}__{place}" if place else name
