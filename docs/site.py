"""What the site shows beside the pages of this folder: documents that lie elsewhere, and pages made from the code.

MkDocs calls the functions `on_...` while it builds.
"""

import ast
import io
import json
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Documents that stand where GitHub and Snakemake look for them, and their names on the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "config/README.md": "configuration.md",
    "results/README.md": "results.md",
    "benchmarks/README.md": "benchmarks.md",
}
FILES = {"CITATION.cff": "CITATION.cff", "benchmarks/sampling.png": "sampling.png"}
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
CHOICE = "Choice:"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in `docs/`."""
    for source, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=with_links_of_the_site((ROOT / source).read_text(), source)))
    for source, name in FILES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_bytes()))
    for path in NOTEBOOKS:
        files.append(File.generated(config, f"{path.stem}.md", content=notebook_page(path)))
    files.append(File.generated(config, "choices.md", content=choices_page()))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page of `docs/` to the site's pages; those of the others are."""
    return markdown if page.file.generated_by else with_links_of_the_site(markdown, f"docs/{page.file.src_uri}")


def with_links_of_the_site(markdown: str, source: str) -> str:
    """Return a document whose links, relative to its place in the repository, lead to the pages of the site."""
    names = ELSEWHERE | FILES | {f"docs/{path.name}": f"{path.stem}.md" for path in NOTEBOOKS}

    def turned(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / match[1])
        return f"]({names.get(target, target.removeprefix('docs/'))}"

    return LINK.sub(turned, markdown)


def notebook_page(path: Path) -> str:
    """Return a notebook's text and code."""
    fences = {"markdown": "{}", "code": "```python\n{}\n```"}
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join(fences[cell["cell_type"]].format("".join(cell["source"])) for cell in cells) + "\n"


def choices_page() -> str:
    """Return the list of all that the paper leaves open and the code decides."""
    lines = [
        "# Choices",
        "",
        "Where the paper is silent, the code says what was chosen, in a line that begins with *Choice*. This is the",
        "list of all, by sub-package and module. Defaults that were chosen are marked in the",
        "[configuration](configuration.md).",
    ]
    for folder in package_order():
        modules = sorted((ROOT / "meddiff" / folder).rglob("*.py"))
        found = [(path, choice) for path in modules for choice in choices(path)]
        if found:
            lines += ["", f"## {folder}", ""]
            lines += [f"- `{path.relative_to(ROOT / 'meddiff')}`: {text}" for path, text in found]
    return "\n".join(lines) + "\n"


def package_order() -> list[str]:
    """Return the sub-packages in the order of docs/architecture.md."""
    return re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)


def choices(path: Path) -> list[str]:
    """Return what a module chose, in the order of its lines."""
    text = path.read_text()
    found = sorted([*_in_comments(text), *_in_docstrings(text)])
    return [choice[0].upper() + choice[1:] for _, choice in found]


def _in_comments(text: str) -> Iterator[tuple[int, str]]:
    comments = {
        token.start[0]: (token.start[1], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    for line, (column, comment) in comments.items():
        if CHOICE in comment:
            words = [comment.partition(CHOICE)[2].strip()]
            while comments.get(line + len(words), (None,))[0] == column:
                words.append(comments[line + len(words)][1])
            yield line, " ".join(words)


def _in_docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (docstring := ast.get_docstring(node)):
            for paragraph in re.split(r"\n\s*\n", docstring):
                for choice in paragraph.split(CHOICE)[1:]:
                    yield node.body[0].lineno, " ".join(choice.split())


def commands_page() -> str:
    """Return the help of every command, the pipeline's stages last."""
    from meddiff.cli.main import app

    root = typer.main.get_command(app)
    return "\n".join(["# Commands", "", *_help("meddiff", root, None, 1)]) + "\n"


def _help(name: str, command: typer.core.TyperCommand, parent: object, depth: int) -> Iterator[str]:
    context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
    if depth > 1:
        yield from ("", f"{'#' * depth} {name}", "")
    yield from ("```text", command.get_help(context).strip(), "```")
    for inner in getattr(command, "list_commands", lambda _: [])(context):
        yield from _help(f"{name} {inner}", command.get_command(context, inner), context, depth + 1)
