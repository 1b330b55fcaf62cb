"""What all pipelines of a deployment share: spaces, vector stores, search indexes, quarantine."""

from collections.abc import Callable, Sequence
from datetime import datetime

from pymongo import MongoClient, ReadPreference

from resources.core.lane import Lane
from resources.embedders.quota import QuotaSettings
from resources.registry.evaluations import Evaluations
from resources.registry.indexes import Indexes
from resources.registry.jobs import LaneJobs
from resources.registry.ledger import Ledger
from resources.registry.pipeline_spaces import PipelineSpaces
from resources.registry.plans import WrittenPlans
from resources.registry.quarantine import Quarantine
from resources.registry.quotas import COLLECTION, Quota
from resources.registry.reranking import RerankLedger
from resources.registry.spaces import Spaces
from resources.registry.stores import Stores


class Registry:
    """Collections of the registry database.

    `embedding_spaces` says what each space id means; `pipeline_spaces` which of them a pipeline
    has, where each lies and which one serves, and `pipeline_space_history` how that came about;
    `vector_stores` which space each path holds
    and when it last changed; `vector_store_claims` which pipelines have ever written to it, and
    what they carried; `search_indexes` what each index was built from;
    `embedding_quarantine` what cannot be embedded, and why; `embedding_spend` what every embedding
    batch took; `embedding_requests` the remote requests that are in no batch yet;
    `embedding_jobs` the batch jobs under way; `embedding_plans` the newest plan of each lane;
    `provider_quotas` what pipelines reserve of limits that they keep together;
    `reranking_spend` what reranking took each day; `evaluations` how good searches were found to
    be.
    """

    def __init__(self, client: MongoClient, database: str) -> None:
        # What a secondary has not yet heard of, such as a lease or a plan, would be done again.
        found = client.get_database(database, read_preference=ReadPreference.PRIMARY)
        self.spaces = Spaces(found["embedding_spaces"])
        self.of_pipelines = PipelineSpaces(found)
        self.stores = Stores(found)
        self.indexes = Indexes(found["search_indexes"])
        self.quarantine = Quarantine(found["embedding_quarantine"])
        self.ledger = Ledger(found)
        self.reranked = RerankLedger(found["reranking_spend"])
        self.evaluations = Evaluations(found["evaluations"])
        self.plans = WrittenPlans(found)
        self._jobs = found["embedding_jobs"]
        self._quotas = found[COLLECTION]

    def prepare(self) -> None:
        """Create the indexes of what grows: quarantine, ledger and evaluations."""
        self.quarantine.prepare()
        self.ledger.prepare()
        self.evaluations.prepare()

    def drop_quarantined(self, pipeline: str, names: Sequence[str] | None = None) -> int:
        """Forget entries of the quarantine, which the next run looks at again: see `drop` there.

        Returns:
            How many.
        """
        # Nothing else tells that they are to be compared again. Before they are gone, should this
        # not come to its end; and after that, should a run have compared meanwhile.
        self.plans.ask_for_all(pipeline)
        count = self.quarantine.drop(pipeline, names)
        self.plans.ask_for_all(pipeline)
        return count

    def jobs_since(self, pipeline: str, moment: datetime) -> int:
        """Batch jobs of a pipeline of which something has been noted since."""
        return self._jobs.count_documents({"pipeline": pipeline, "at": {"$gt": moment}})

    def jobs(
        self, lane: Lane, run: str, written: Callable[[str], bool], shards: int = 1
    ) -> LaneJobs:
        """A lane's batch jobs; `written` tells whether the batch store has a batch."""
        return LaneJobs(self._jobs, lane, run, written, shards)

    def quota(self, settings: QuotaSettings, pipeline: str, warn: Callable[[str], None]) -> Quota:
        """A quota as a pipeline knows it; `warn` is told of others that want it otherwise."""
        return Quota(self._quotas, settings, pipeline, warn)
