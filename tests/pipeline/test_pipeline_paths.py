"""One file, however it is spelled: outputs that would overwrite something, sources that would be learnt twice."""

import pytest
from pipeline_tools import MODEL, call, events, lines_of, run, state_of, streammix, write_config, write_ndjson

from streammix.pipeline.sources.file import FileSource, find_files


def ndjson_sink(path):
    return f'[[sink]]\nkind = "ndjson"\npath = "{path}"\n'


def parquet_sink(path):
    return f'[[sink]]\nkind = "parquet"\npath = "{path}"\n'


def dead_letter(path):
    return f'[dead_letter]\npath = "{path}"\n'


@pytest.fixture
def here(tmp_path):
    write_ndjson(tmp_path / "a.ndjson", events(200))
    (tmp_path / "link.ndjson").symlink_to("o.ndjson")
    return tmp_path


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (ndjson_sink("o.ndjson") + ndjson_sink("./o.ndjson"), "[[sink]] number 1 path and [[sink]] number 2 path"),
        (ndjson_sink("o.ndjson") + ndjson_sink("link.ndjson"), "[[sink]] number 1 path and [[sink]] number 2 path"),
        (parquet_sink("o") + parquet_sink("x/../o"), "[[sink]] number 1 path and [[sink]] number 2 path"),
        (ndjson_sink("o.ndjson") + dead_letter("x/../o.ndjson"), "[[sink]] number 1 path and [dead_letter] path"),
        (ndjson_sink("state/_dead-letter.ndjson"), "[[sink]] number 1 path and the dead-letter file"),
        (parquet_sink("./state"), "[[sink]] number 1 path and [checkpoint] directory"),
    ],
)
def test_two_outputs_in_one_place_are_refused(outputs, words, here):
    write_config(here, 'kind = "file"\npath = "a.ndjson"', outputs)
    status, _, said = run(here)
    assert status == 2
    assert words in said
    assert "are one place" in said
    assert sorted(file.name for file in here.iterdir()) == ["a.ndjson", "link.ndjson", "pipeline.toml"]


@pytest.mark.parametrize("output", [ndjson_sink("./a.ndjson"), dead_letter("x/../a.ndjson")])
def test_an_output_that_is_the_source_is_refused(output, here):
    before = (here / "a.ndjson").read_bytes()
    write_config(here, 'kind = "file"\npath = "a.ndjson"', output)
    status, _, said = run(here)
    assert status == 2
    assert "a.ndjson is one of this run's own outputs" in said
    assert (here / "a.ndjson").read_bytes() == before


def test_a_dead_letter_path_that_is_a_directory(here):
    write_config(here, 'kind = "file"\npath = "a.ndjson"', dead_letter("."))
    status, _, said = run(here)
    assert status == 2
    assert "[dead_letter] path: " in said
    assert "is a directory" in said


@pytest.mark.parametrize(
    ("source", "outputs", "words"),
    [
        ("a\\u0000.ndjson", "", "[source] path"),
        ("a.ndjson", ndjson_sink("o\\u0000"), "[[sink]] number 1 path"),
        ("a.ndjson", parquet_sink("o\\u0000"), "[[sink]] number 1 path"),
        ("a.ndjson", dead_letter("o\\u0000"), "[dead_letter] path"),
    ],
)
def test_a_nul_character_in_a_path(source, outputs, words, here):
    write_config(here, f'kind = "file"\npath = "{source}"', outputs)
    status, _, said = run(here)
    assert status == 2
    assert f"{words}: " in said
    assert "NUL character" in said


def test_a_nul_character_in_the_checkpoint_directory(here):
    config = write_config(here, 'kind = "file"\npath = "a.ndjson"')
    config.write_text(config.read_text().replace('"state"', '"st\\u0000"'))
    status, _, said = run(here)
    assert (status, "[checkpoint] directory: 'st\\x00' holds a NUL" in said) == (2, True)


def test_a_source_is_learnt_once_however_it_is_spelled(here):
    absolute = here / "a.ndjson"
    write_config(here, f'kind = "file"\npath = ["a.ndjson", "./a.ndjson", "*/../a.ndjson", "{absolute}"]')
    (here / "sub").mkdir()
    assert run(here)[0] == 0
    before = state_of(here / "state")
    for spelled in ("./a.ndjson", "sub/../a.ndjson", str(absolute), "a*"):
        write_config(here, f'kind = "file"\npath = "{spelled}"')
        status, _, said = run(here)
        assert (status, "found nothing new: all 200 records" in said) == (0, True)
    assert state_of(here / "state") == before


def test_a_directory_that_moves_goes_on(here, tmp_path_factory):
    write_config(here, f'kind = "file"\npath = "{here / "a.ndjson"}"', ndjson_sink("o.ndjson"))
    assert run(here)[0] == 0
    moved = here.rename(tmp_path_factory.mktemp("moved") / "there")
    write_config(moved, 'kind = "file"\npath = "./a.ndjson"', ndjson_sink("o.ndjson"))
    assert "found nothing new: all 200 records" in run(moved)[2]
    assert {row["position"]["source"] for row in lines_of(moved / "o.ndjson")} == {"a.ndjson"}


def test_marks_of_earlier_runs_are_known(here):
    source = FileSource(["a.ndjson"], here)
    source.read(150)
    offset = source.position()["files"]["a.ndjson"]["offset"]
    source.close()
    recorded = {"kind": "file", "files": {"./a.ndjson": {"offset": offset}, str(here / "a.ndjson"): {"offset": 0}}}
    again = FileSource(find_files(["a.ndjson"], here), here, recorded)
    assert again.position()["files"] == {"a.ndjson": {"offset": offset}}
    assert len(again.read(1000)) == 50
    again.close()


def test_a_link_keeps_its_own_name(here):
    (here / "events.csv").symlink_to("blob")
    (here / "blob").write_text("x\n1\n")
    assert find_files(["./events.csv", "events.csv"], here) == ["events.csv"]


@pytest.fixture
def learnt(here):
    write_config(here, 'kind = "file"\npath = "a.ndjson"')
    assert run(here)[0] == 0
    return here


@pytest.mark.parametrize("output", ["a.ndjson", "./a.ndjson", "hard.ndjson", "state/_dead-letter.ndjson"])
def test_score_does_not_overwrite_what_it_reads(output, learnt, monkeypatch):
    monkeypatch.chdir(learnt)
    (learnt / "hard.ndjson").symlink_to("a.ndjson")
    before = (learnt / "a.ndjson").read_bytes()
    status, _, said = call("score", "state", "a.ndjson", "-o", output)
    assert status == 2
    assert "error: --output: " in said
    assert (learnt / "a.ndjson").read_bytes() == before


def test_a_full_disk_is_a_sentence(learnt, monkeypatch):
    monkeypatch.chdir(learnt)
    (learnt / "s.ndjson.tmp").symlink_to("/dev/full")
    status, _, said = call("score", "state", "a.ndjson", "-o", "s.ndjson")
    assert (status, said) == (1, "error: s.ndjson can't be written: No space left on device\n")
    for command in ("score state a.ndjson", "inspect state", "run pipeline.toml"):
        with open("/dev/full", "wb") as full:
            done = streammix(*command.split(), cwd=learnt, stdout=full)
        assert done.returncode == 1
        assert b"standard output can't be written: No space left on device" in done.stderr.splitlines()[-1]


def test_an_empty_source_is_called_empty(tmp_path):
    (tmp_path / "a.ndjson").touch()
    write_config(tmp_path, 'kind = "file"\npath = "a.ndjson"')
    status, _, said = run(tmp_path)
    assert (status, "the source is empty" in said, "found nothing new" in said) == (0, True, False)


def test_inferred_columns_of_codes_stay_text(tmp_path):
    model = MODEL[: MODEL.index("[model.fields]")].replace("warm_up = 100", "warm_up = 20")
    rows = [f"{i % 7}.5,{'ab0' if i % 3 else '0001'},{i % 5:04d}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["x,code,zip", *rows]) + "\n")
    write_config(tmp_path, 'kind = "file"\npath = "a.csv"', ndjson_sink("o.ndjson"), model=model)
    status, _, said = run(tmp_path)
    assert (status, "were refused" in said) == (0, False)
    with open(tmp_path / "a.csv", "a") as file:
        file.write("1.5,0001,0003\n2.5,17,0004\n")
    status, _, said = run(tmp_path)
    assert (status, len(lines_of(tmp_path / "o.ndjson"))) == (0, 62)
    assert "were refused" not in said
