"""How answers look in a terminal."""

import json

from rich.text import Text

from pipelines.cli.render import new_table, plain, shortened
from pipelines.framework.console import console
from pipelines.operations.search import SearchAnswer, SearchHit
from pipelines.operations.search.as_json import jsonable


def answer(found: SearchAnswer, *, explain: bool = False) -> None:
    console.print(f"\n[bold]{plain(found.query)}[/bold]")
    if not found.hits:
        console.print(f"nothing found: {plain(found.why_empty or 'nothing is near enough')}")
    table = new_table()
    table.add_column("score", justify="right", style="green")
    table.add_column("document", ratio=1)
    table.add_column("vector made by", style="dim")
    for hit in found.hits:
        model = str(hit.lineage.get("model", "?")).split("/")[-1]
        made = f"{model}\nrun {str(hit.lineage.get('run', '?'))[:8]}"
        table.add_row(_score(hit), _document(hit), made)
    console.print(table)
    console.print(
        f"[dim]index space {found.space.id}, engine {found.engine}, {found.seconds:.2f} s[/dim]"
    )
    for note in found.notes:
        console.print(f"[yellow]{plain(note)}[/yellow]", soft_wrap=True)
    if explain:
        console.print(f"[dim]score: {plain(found.scored_by)}[/dim]", soft_wrap=True)
        console.print_json(json.dumps(jsonable(dict(found.stage)), ensure_ascii=False))


def _score(hit: SearchHit) -> str:
    ranks = [f"{name} {rank}" for name, rank in hit.ranks.items()]
    return "\n".join([f"{hit.score:.4f}", *ranks])


def _document(hit: SearchHit) -> Text:
    shown = Text.assemble((str(hit.id), "cyan"))
    if hit.others:
        shown.append(f"  and {hit.others} more of {hit.source_id}", "dim")
    shown.append("\n")
    shown.append(shortened(hit.context or hit.text or "", 480 if hit.context else 160))
    return shown
