"""The README stays true: every block of code in it is run or held against what it speaks of."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streammix.pipeline.config import load_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


def test_every_block_is_of_a_kind_that_is_tested():
    assert {language for language, _ in BLOCKS} == {"sh", "python", "toml"}


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "field 'heads': expected a whole number from 0 to 10, got 11" in printed
    responsibilities = names["coins"].predict_proba_one({"heads": 3})
    assert sum(responsibilities.values()) == pytest.approx(1.0)
    assert names["newest"].positions == {"events.ndjson": 1024}
    assert names["outlying"].predict_one({"x": 300.0}) == 2
    assert names["outlying"].weights[2] == pytest.approx(0.05, abs=0.02)
    assert names["outlying"].parameters[1]["x"].variance < 2


def test_the_configuration_is_accepted(tmp_path):
    (block,) = blocks("toml")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.ndjson").write_text('{"amount": 1.0}\n')
    path = tmp_path / "pipeline.toml"
    path.write_text(block)
    config = load_config(path)
    assert config.model.n_components == 4


def test_the_two_commands_are_the_ones_that_ci_runs():
    run = (ROOT / ".ci" / "run").read_text()
    commands = [block.strip() for block in blocks("sh")]
    assert len(commands) == 2
    for command in commands:
        assert f"\n    {command}\n" in run or f"\n{command}\n" in run


def test_the_first_command_learns_the_shuttle(tmp_path):
    (tmp_path / "shuttle.toml").write_text((ROOT / "examples" / "shuttle.toml").read_text())
    command = [sys.executable, "-c", "from streammix.cli import main; main()", "run", str(tmp_path / "shuttle.toml")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    assert "49,097 records" in first.stdout + first.stderr
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "nothing new" in again.stdout + again.stderr


def test_examples_and_documents_named_in_the_readme_exist():
    for name in re.findall(r"(?:examples|docs)/[\w.]+", README):
        assert (ROOT / name).exists(), name
