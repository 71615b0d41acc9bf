"""The house's rules: who may import whom, and how large a room is."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "streammix"

FLOORS = [
    ["errors", "products", "steps"],
    ["stepsize", "statistics", "core", "directory", "bucket"],
    ["families", "state", "frames", "answers"],
    ["angles", "arrow", "kmeans", "clock", "standing"],
    ["declaration", "columns", "em", "gaps", "packing", "plain", "inference", "supervised"],
    ["schema", "zeros"],
    ["scales", "given"],
    ["warmup", "average", "checkpoint", "newcomers", "parameters", "gathering"],
    ["running"],
    ["learner", "conditional"],
    ["intake"],
    ["mixture"],
    ["auto"],
    ["adapters", "batch", "partial", "store"],
    ["shipping"],
    ["pipeline", "spark"],
    ["cli"],
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("streammix.")}
    return found & set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = room(path)
    above = {name for name in imported(path) if name != own and FLOOR[name] >= FLOOR[own]}
    assert not above, f"{own} (floor {FLOOR[own]}) imports {above}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 450


def test_what_cython_writes_is_kept_out_of_the_repository():
    ignored = (PACKAGE.parent / ".gitignore").read_text().split()
    modules = sorted(path.stem for path in (PACKAGE / "core").glob("*.pyx"))
    assert modules
    assert [name for name in [*modules, "shared"] if f"streammix/core/{name}.c" not in ignored] == []


def test_nothing_runs_code_on_loading():
    banned = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not banned & {alias.name.split(".")[0] for alias in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__"}, path
