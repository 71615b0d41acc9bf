"""The commands beside `run`, and what the command line itself promises."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from pipeline_tools import MODEL, call, events, lines_of, streammix, write_config, write_ndjson

import streammix as sm
from streammix.families import Binomial, Categorical, Fixed, LogNormal, MultivariateNormal, Normal, Poisson
from streammix.pipeline.evaluating import evaluate_each
from streammix.pipeline.report import describe
from streammix.store import CheckpointStore, load


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A directory in which a run has learnt 1,200 events."""
    place = tmp_path_factory.mktemp("learnt")
    write_ndjson(place / "events.ndjson", events(1200))
    write_config(place, 'kind = "file"\npath = "events.ndjson"')
    assert call("run", place / "pipeline.toml")[0] == 0
    return place


def test_help_is_fast_and_complete():
    status, text, _ = call("--help")
    assert status == 0
    for command in ("run", "inspect", "score"):
        assert command in text
        assert call(command, "--help")[0] == 0
    script = (
        "import atexit, sys; sys.argv = ['streammix', '--help']; from streammix.cli import main; atexit.register("
        "lambda: print([name for name in ('numpy', 'pyarrow', 'river', 'scipy', 'pandas') if name in sys.modules]));"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().splitlines()[-1] == "[]"
    assert call("--version")[:2] == (0, f"streammix {sm.__version__}\n")


def test_an_interrupt_before_a_command_begins_leaves_no_traceback():
    for module in ("argparse", "numpy", "pyarrow", "streammix.mixture", "streammix.pipeline.runner"):
        script = (
            "import os, signal, sys; from streammix.cli import main; sys.argv = ['streammix', 'run', 'none.toml'];"
            f"sys.addaudithook(lambda event, about: event == 'import' and about[0] == {module!r}"
            " and os.kill(os.getpid(), signal.SIGINT)); main()"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
        said = b"interrupted before anything had begun\n"
        assert (done.returncode, done.stdout, done.stderr) == (130, b"", said)


def test_inspect_a_directory(learnt):
    status, text, _ = call("inspect", learnt / "state")
    assert status == 0
    newest = max((learnt / "state").glob("*.arrow"))
    for words in (
        f"checkpoint: {newest}",
        "records learnt: 1,200",
        "n_components: 2",
        "x: Normal()",
        "records: 1200",
        "events.ndjson",
        "2 components after 1,200 records",
        "checkpoints, the oldest first",
    ):
        assert words in text
    assert "inferred" not in text


def test_inspect_a_file(learnt):
    status, text, _ = call("inspect", max((learnt / "state").glob("*.arrow")))
    assert status == 0
    assert "2 components after 1,200 records" in text
    assert "oldest first" not in text


def test_inspect_shows_what_was_inferred(tmp_path):
    write_ndjson(tmp_path / "events.ndjson", events(200))
    model = "[model]\nn_components = 2\nwarm_up = 100\nseed = 1\n"
    write_config(tmp_path, 'kind = "file"\npath = "events.ndjson"', model=model)
    assert call("run", tmp_path / "pipeline.toml")[0] == 0
    _, text, _ = call("inspect", tmp_path / "state")
    assert "inferred fields:\n  x, y: MultivariateNormal()\n  kind: Categorical()" in text


def test_inspect_while_a_run_is_writing_and_while_warming_up(tmp_path):
    write_ndjson(tmp_path / "events.ndjson", events(20))
    write_config(tmp_path, 'kind = "file"\npath = "events.ndjson"')
    status, _, said = call("run", tmp_path / "pipeline.toml")
    assert status == 0
    assert "still warming up after 20 records" in said
    with CheckpointStore(tmp_path / "state"):
        status, text, _ = call("inspect", tmp_path / "state")
    assert status == 0
    assert "records learnt: 20 (still warming up)" in text


@pytest.mark.parametrize("command", [["inspect"], ["score"]])
def test_states_that_are_not_there(command, tmp_path, learnt):
    rest = [learnt / "events.ndjson"] if command == ["score"] else []
    status, _, said = call(*command, tmp_path / "nowhere", *rest)
    assert (status, said) == (2, f"error: there is no checkpoint {tmp_path / 'nowhere'}\n")
    status, _, said = call(*command, tmp_path, *rest)
    assert (status, said) == (1, f"error: there are no checkpoints in {tmp_path}\n")
    foreign = tmp_path / "foreign.arrow"
    foreign.write_bytes((learnt / "events.ndjson").read_bytes())
    status, _, said = call(*command, foreign, *rest)
    assert status == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["new.ndjson", "new.csv.gz", "new.parquet"])
def test_score_without_learning(name, learnt, tmp_path):
    records = events(50, seed=9)
    table = pa.Table.from_pylist(records)
    if name == "new.parquet":
        pq.write_table(table, tmp_path / name)
    elif name == "new.ndjson":
        write_ndjson(tmp_path / name, records)
    else:
        with pa.output_stream(str(tmp_path / name), compression="gzip") as file:
            file.write(b"x,y,kind\n" + "".join(f"{r['x']},{r['y']},{r['kind']}\n" for r in records).encode())
    before = {path: path.read_bytes() for path in (learnt / "state").iterdir() if path.is_file()}

    status, text, said = call("score", learnt / "state", tmp_path / name)

    assert (status, said) == (0, "")
    rows = [json.loads(line) for line in text.splitlines()]
    model = load(max((learnt / "state").glob("*.arrow")))
    assert [row["score"] for row in rows] == [model.score_one(record) for record in records]
    assert [row["component"] for row in rows] == [model.predict_one(record) for record in records]
    assert {path: path.read_bytes() for path in (learnt / "state").iterdir() if path.is_file()} == before


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
def test_score_into_a_file(ending, learnt, tmp_path):
    output = tmp_path / f"scored.{ending}"
    output.write_text("an older one")
    assert call("score", learnt / "state", learnt / "events.ndjson", "--output", output)[0] == 0
    rows = lines_of(output) if ending == "ndjson" else pq.read_table(output).to_pylist()
    assert len(rows) == 1200
    assert rows[3]["position"]["source"] == str(learnt / "events.ndjson")
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("kind", ["mixture", "auto"])
def test_scoring_in_blocks_is_that_of_single_records(kind):
    rng = np.random.default_rng(3)
    if kind == "auto":
        model = sm.AutoMixture(n_components=2, fields={"x": sm.Normal()}, background=True, warm_up=300, seed=1)
        model.learn_many(pa.table({"x": np.r_[rng.normal(size=400), rng.uniform(-99, 99, 20), rng.normal(9, 1, 400)]}))
    else:
        model = sm.Mixture(components=[dict.fromkeys("xy", sm.Uniform(*ends)) for ends in [(-9, 1), (-1, 9)]])
    values = zip(*rng.uniform(-9, 9, (2, 150)).tolist(), strict=True)
    records = [{"x": x, "y": y} for x, y in [*values, (None, 3.0), (0.5, None)]]
    done = evaluate_each(model, records)
    shares = [list(model.predict_proba_one(record).values()) for record in records]
    assert done.rows.tolist() == list(range(len(records)))
    assert done.responsibilities.tolist() == shares
    assert done.log_density.tolist() == [model.log_density_one(record) for record in records]
    assert np.isneginf(done.log_density).any() == (kind == "mixture")  # of records that neither component can make


def test_score_says_what_it_could_not(learnt, tmp_path):
    write_ndjson(tmp_path / "new.ndjson", [{"x": 1.0}, {"x": "text"}, {}, [1], {"y": -3.0}])
    status, text, said = call("score", learnt / "state", tmp_path / "new.ndjson")
    assert status == 0
    assert len(text.splitlines()) == 1
    assert "4 records could not be scored; the first: " in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.ndjson"], "there is no file "),
        (["events.ndjson", "--output", "scored.txt"], "scored.txt ends neither in .ndjson nor in .parquet"),
        (["pipeline.toml"], "has no known ending"),
    ],
)
def test_wrong_arguments_of_score(arguments, words, learnt):
    status, text, said = call("score", learnt / "state", learnt / arguments[0], *arguments[1:])
    assert (status, text) == (2, "")
    assert words in said


def test_unknown_commands_and_options():
    for arguments in (["fly"], ["run"], ["run", "a", "b"], ["run", "--quick", "a"]):
        status, _, said = call(*arguments)
        assert status == 2
        assert said.startswith("usage: streammix")
        assert ": error: " in said


def test_what_was_not_foreseen_is_one_sentence_too(learnt, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("streammix.pipeline.commands.build_model", fail)
    status, _, said = call("run", learnt / "pipeline.toml")
    assert status == 1
    (line,) = map(json.loads, said.splitlines())
    assert line["level"] == "error"
    assert line["message"] == "ZeroDivisionError: by zero (not foreseen; --verbose shows where)"
    status, _, said = call("run", "--verbose", learnt / "pipeline.toml")
    assert "Traceback" in json.loads(said.splitlines()[-1])["exception"]


def test_as_an_installed_program(tmp_path):
    write_config(tmp_path, 'kind = "stdin"', model=MODEL.replace('"Normal"', '"Norml"'))
    done = streammix("run", "pipeline.toml", cwd=tmp_path, stdin=b"")
    assert done.returncode == 2
    assert done.stdout == b""
    assert (
        done.stderr.decode() == "error: pipeline.toml: [model.fields] x: unknown family 'Norml': did you mean Normal?\n"
    )


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (Normal(1.5, 0.25), "mean 1.5, sd 0.5"),
        (LogNormal(1.5, 0.25), "mean 1.5, sd 0.5 of the logarithm"),
        (Poisson(), "not learnt yet"),
        (Binomial(10, 1 / 3), "n 10, p 0.33333"),
        (
            Categorical(dict(zip("abcdef", (0.4, 0.3, 0.1, 0.1, 0.05, 0.05), strict=True))),
            "a 40.0%, b 30.0%, c 10.0%, d 10.0%, and 2 more",
        ),
        (Categorical({"": 0.75, "a": 0.25}), '"" 75.0%, a 25.0%'),
        (MultivariateNormal([1, 2], [[4, 0], [0, 9]]), "mean (1, 2), sd (2, 3)"),
        (Fixed(Poisson(2.0)), "Poisson rate 2"),
        (Fixed(scipy.stats.norm(0, 2)), "scipy.stats.norm(0, 2)"),
    ],
)
def test_families_in_words(family, words):
    assert describe(family)[1] == words
