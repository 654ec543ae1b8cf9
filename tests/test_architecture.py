"""The packages import one another in one direction, and the commands answer without Beam or TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"apache_beam", "tensorflow", "keras"}

# What each package may import of the others, and of the heavy libraries.
ALLOWED = {
    "yt8m_data": set(),
    "beam_jobs": {"yt8m_data", "apache_beam"},
    "trainers": {"yt8m_data", "tensorflow", "keras"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows_go_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        crossed = imported(path) & (HEAVY | set(ALLOWED) | {"cli"}) - {package}
        assert crossed <= ALLOWED[package], f"{path} imports {crossed - ALLOWED[package]}"


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level modules that it loaded."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("group", ["yt8m_data", "yt8m_train"])
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(group, arguments):
    code = f"import cli\ntry:\n    cli.{group}({arguments!r})\nexcept SystemExit:\n    pass"
    assert not modules_after(code) & HEAVY


def test_recipes_are_listed_without_tensorflow():
    code = "import cli\ntry:\n    cli.yt8m_train(['recipes'])\nexcept SystemExit:\n    pass"
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize(
    "module", ["codec", "statistics", "sampling", "neighbors", "synthesis", "pools", "synthetic", "synth", "report.collect", "report.html"]
)
def test_kernels_import_neither_beam_nor_tensorflow(module):
    assert not modules_after(f"import yt8m_data.{module}") & HEAVY


def test_beam_jobs_import_no_tensorflow():
    loaded = modules_after("import beam_jobs.augment, beam_jobs.stats, beam_jobs.shard, beam_jobs.pool, beam_jobs.validate")
    assert "apache_beam" in loaded
    assert not loaded & {"tensorflow", "keras"}
