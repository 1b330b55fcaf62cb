"""How long fifty pipelines in one code location take to load, and what they weigh.

    python -m benchmarks.location --pipelines 50

A process of its own for each row, as Dagster starts one: modules and YAML files of pipelines like
the quickstart's, the last of them broken, loaded by `pipelines.framework.location`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

MODULE = """from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="{name}",
    configs=["{folder}/{name}.yaml", "embedder/minilm.yaml", "mongodb/embedded.yaml"],
    schedule="0 3 * * *",
)

defs = pipeline.definitions()
"""

YAML = """resources:
  source:
    config:
      origin: {{jsonl: {{path: {folder}/texts.jsonl}}}}
      carry: [kind]
  vector_store:
    config: {{database: many, collection: {name}}}
  search_index:
    config: {{filter_fields: [kind]{broken}}}
"""

LOAD = """
import json, sys, time
import psutil
import dagster
imported, start = psutil.Process().memory_info().rss, time.perf_counter()
cpu = time.process_time()
import pipelines
pipelines.__path__.append(sys.argv[1])
from pipelines.framework import location
names = json.loads(sys.argv[2])
found = location.location(names)
assets = found.resolve_all_asset_keys()
repository = found.get_repository_def()
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
rss, schedules = psutil.Process().memory_info().rss, len(repository.schedule_defs)
print(json.dumps([len(assets), schedules, seconds, cpu, rss / 2**20, imported / 2**20]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipelines", type=int, default=50)
    count = parser.parse_args().pipelines
    table = Table("pipelines", "assets", "schedules", "s", "of CPU", "MiB", "before")
    table.title = "after `import dagster`"
    with tempfile.TemporaryDirectory() as folder:
        names = [f"many_{number:03d}" for number in range(count)]
        for name in names:
            broken = ", similarty: cosine" if name == names[-1] and count > 1 else ""
            Path(folder, f"{name}.py").write_text(MODULE.format(name=name, folder=folder), "utf-8")
            text = YAML.format(name=name, folder=folder, broken=broken)
            Path(folder, f"{name}.yaml").write_text(text, "utf-8")
        for size in dict.fromkeys([1, min(10, count), count]):
            chosen = [*names[: size - 1], names[-1]] if size > 1 else names[:1]
            done = subprocess.run(
                [sys.executable, "-c", LOAD, folder, json.dumps(chosen)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            assets, schedules, seconds, cpu, rss, before = json.loads(done.stdout.splitlines()[-1])
            figures = (f"{seconds:.2f}", f"{cpu:.2f}", f"{rss:.0f}", f"{before:.0f}")
            table.add_row(str(size), str(assets), str(schedules), *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
