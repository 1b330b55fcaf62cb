"""docs/commands.md, made from the command line itself: every command, argument and option."""

import re
from collections.abc import Iterator

import typer
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup

from pipelines.cli.app import app

HEAD = """\
# Commands

Made by `make docs` from the command line itself; a test holds this page and the code together.
`embeddings` is in `.venv/bin`; `embeddings COMMAND --help` says what stands here. What each is for:
[operations](operations.md), [searching](search.md), [models](models.md).
"""

_STATUS = re.compile(r"\*\*(\d+)\*\*\s+(.*)", re.DOTALL)
_MARKUP = re.compile(r"\[bold\](.*?)\[/bold\]")


def commands_page() -> str:
    """The whole page."""
    root = command()
    found = list(_leaves(root, "embeddings"))
    parts = [HEAD]
    parts += [f"- [`{path}`](#{_anchor(path)}): {_first_line(each)}" for path, each in found]
    parts.append("")
    if epilogue := (root.epilog or "").strip():
        parts += ["## Every command\n", *_statuses(_paragraphs(epilogue)), ""]
    if table := list(_options(root)):
        parts += ["Before the command's name:\n", *table, ""]
    for path, each in found:
        parts += _section(path, each)
    return "\n".join(parts).rstrip() + "\n"


Command = TyperCommand | TyperGroup


def _statuses(text: str) -> Iterator[str]:
    """Lines such as `**0**  done` as a table."""
    for paragraph in text.split("\n\n"):
        if found := _STATUS.fullmatch(paragraph):
            yield f"| {found[1]} | {_cell(found[2])} |"
        else:
            yield f"{paragraph}:\n\n| | |\n| ---: | --- |"


def command() -> TyperGroup:
    """`embeddings`, as it takes its arguments."""
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)
    return found


def _leaves(group: TyperGroup, path: str) -> Iterator[tuple[str, Command]]:
    context = typer.Context(group, info_name=path)
    for name in group.list_commands(context):
        each = group.get_command(context, name)
        assert isinstance(each, Command)
        if each.hidden:
            continue
        if isinstance(each, TyperGroup):
            yield from _leaves(each, " ".join([path, name, *arguments(each, context)]))
        else:
            yield f"{path} {name}", each


def arguments(group: Command, context: typer.Context) -> Iterator[str]:
    """Of a group, which stand before the names of its commands."""
    for each in group.get_params(context):
        if isinstance(each, TyperArgument):
            yield each.metavar or str(each.name).upper()


def _section(path: str, each: Command) -> Iterator[str]:
    yield f"## `{path}`\n"
    yield f"{_paragraphs(each.help or '')}\n"
    context = typer.Context(each, info_name=path)
    usage = " ".join(each.collect_usage_pieces(context))
    yield f"```\n{path} {usage}\n```\n"
    yield from _options(each)
    yield ""


def _options(each: Command) -> Iterator[str]:
    context = typer.Context(each)
    records = (
        parameter.get_help_record(context)
        for parameter in each.get_params(context)
        if "--help" not in parameter.opts
    )
    rows = [f"| `{_escaped(name)}` | {_cell(said)} |" for name, said in filter(None, records)]
    if rows:
        yield "| argument or option | |\n| --- | --- |"
        yield from rows


def _paragraphs(text: str) -> str:
    paragraphs = _MARKUP.sub(r"**\1**", text.replace("\b", "")).strip().split("\n\n")
    return "\n\n".join(paragraph.strip() for paragraph in paragraphs)


def _first_line(each: Command) -> str:
    line = " ".join((each.help or "").split("\n\n")[0].split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _cell(text: str) -> str:
    return _escaped(text).replace("<", "&lt;")


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(path: str) -> str:
    return path.replace(" ", "-").lower()
