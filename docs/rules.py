"""The graph of the rules in docs/architecture.md, as Snakemake sees it: `python docs/rules.py` draws it anew."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def drawn() -> str:
    """Return the graph of the paper's run as a block of Mermaid, without arrows that others make superfluous."""
    names, arrows = rule_graph()
    lines = [f"    {names[a]} --> {names[b]}" for a, b in arrows if not _around(a, b, arrows)]
    return "\n".join(["```mermaid", "graph TD", *sorted(lines), "```"])


def rule_graph() -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Return the names of the rules by number, and the pairs of which the second needs what the first makes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", "all", "--forceall", "--cores", "1", "--rulegraph"]
        command += ["--configfile", "config/paper.yaml", "--config", f"output_dir={folder}"]
        text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r'(\d+)\[label = "(\w+)"', text)), set(re.findall(r"(\d+) -> (\d+)", text))


def _around(a: str, b: str, arrows: set[tuple[str, str]]) -> bool:
    """Whether there is another way from one rule to another one than the arrow between them."""
    reached = {end for start, end in arrows if start == a and end != b}
    while further := {end for start, end in arrows if start in reached} - reached:
        reached |= further
    return b in reached


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: drawn(), PAGE.read_text()))
