"""What is said of a wrong configuration: place, key, closest valid name; status 2; nothing written."""

import pytest
from pipeline_tools import call, write_config, write_ndjson

from streammix.errors import ConfigError
from streammix.families import Categorical, LogNormal, MultivariateNormal
from streammix.pipeline.config import load_config
from streammix.pipeline.model import build_model, declared_fields, text_fields
from streammix.pipeline.sections import ModelSection
from streammix.stepsize import HalfLife

GOOD = 'kind = "file"\npath = "events.ndjson"'

WRONG = {
    "not TOML": (None, "pipeline.toml is not TOML: "),
    "an unknown section": ("[sorce]\n", "unknown section [sorce]; did you mean source?"),
    "no source": ("[model]\n", "there is no section [source]"),
    "no kind": ("[source]\n", "[source] kind is missing: one of file, stdin, river, kafka, nats, redis, own"),
    "an unknown kind": ('[source]\nkind = "fil"\n', "[source] kind: unknown kind 'fil'; did you mean file?"),
    "a kind of a later version": (
        '[source]\nkind = "mqtt"\n',
        "[source] kind: unknown kind 'mqtt'; expected one of file, stdin, river, kafka, nats, redis, own",
    ),
    "a secret in the file": (
        '[source]\nkind = "redis"\nurl = "redis://localhost"\nstream = "s"\npassword = "hush"\n',
        "[source] password: a secret stands in no configuration file",
    ),
    "a secret in an address": (
        '[source]\nkind = "redis"\nurl = "redis://:hush@localhost"\nstream = "s"\n',
        "[source] url: a password stands in no configuration file",
    ),
    "a secret in an address of NATS": (
        '[source]\nkind = "nats"\nservers = ["nats://a", "nats://hush@b"]\nstream = "s"\n',
        "[source] servers: a password stands in no configuration file",
    ),
    "a secret in the settings": (
        '[source]\nkind = "kafka"\nbrokers = "b"\ntopic = "t"\nsettings = { "sasl.password" = "hush" }\n',
        "[source] settings.sasl.password: a secret stands in no configuration file",
    ),
    "a secret that is nowhere": (
        '[source]\nkind = "nats"\nservers = "s"\nstream = "t"\ntoken = { env = "NOT_SET_ANYWHERE" }\n',
        "[source] token: there is no variable NOT_SET_ANYWHERE in the environment",
    ),
    "no brokers": (
        '[source]\nkind = "kafka"\nbrokers = ""\ntopic = "t"\n',
        "[source] brokers: expected str of length >= 1",
    ),
    "a topic without a name": (
        '[source]\nkind = "kafka"\nbrokers = "b"\ntopic = ["t", ""]\n',
        "[source] topic[1]: expected str of length >= 1",
    ),
    "brokers twice": (
        '[source]\nkind = "kafka"\nbrokers = "b"\ntopic = "t"\nsettings = { "bootstrap.servers" = "c" }\n',
        "[source] settings.bootstrap.servers: the addresses stand in brokers",
    ),
    "a stream of Redis without a name": (
        '[source]\nkind = "redis"\nurl = "redis://a"\nstream = ""\n',
        "[source] stream: expected str of length >= 1",
    ),
    "no address of NATS": (
        '[source]\nkind = "nats"\nservers = ""\nstream = "s"\n',
        "[source] servers: expected str of length >= 1",
    ),
    "a wrong address of NATS": (
        '[source]\nkind = "nats"\nservers = "127.0.0.1:99999"\nstream = "s"\n',
        "[source] servers: nats: invalid connect url option",
    ),
    "credentials that are nowhere": (
        '[source]\nkind = "nats"\nservers = "nats://127.0.0.1:1"\nstream = "s"\ncredentials = "nope.creds"\n',
        "[source] credentials: the file nope.creds can't be read: No such file or directory",
    ),
    "more workers than there can be": (f"workers = 100_000\n[source]\n{GOOD}\n", "workers must be at most "),
    "more components than there can be": (
        f"[source]\n{GOOD}\n[model]\nn_components = 1_000_000_000\n",
        "[model] n_components must be at most 100,000, not 1000000000",
    ),
    "more components than there can be, supervised": (
        f'[source]\n{GOOD}\n[model]\nkind = "auto"\nn_components = 1_000_000_000\n',
        "[model] n_components must be at most 100,000, not 1000000000",
    ),
    "a kind that is a list": ('[source]\nkind = ["file"]\n', "[source] kind: unknown kind ['file']"),
    "a section that is no table": ("source = 3\n", "[source] must be a table, not 3"),
    "a key missing": ('[source]\nkind = "file"\n', "[source] path is missing"),
    "an unknown key": (
        '[source]\nkind = "file"\npth = "x"\n',
        "[source] unknown key 'pth' of kind file; did you mean path?",
    ),
    "a wrong type": (
        f'[source]\n{GOOD}\n[model]\nn_components = "3"\n',
        "[model] n_components: expected int | array, got str",
    ),
    "a number too small": (
        f"[source]\n{GOOD}\n[checkpoint]\nevery_records = 0\n",
        "[checkpoint] every_records: expected int >= 1",
    ),
    "an unknown key of the model": (
        f"[source]\n{GOOD}\n[model]\nncomponents = 3\n",
        "[model] unknown key 'ncomponents'; did you mean n_components?",
    ),
    "no components at all": (f"[source]\n{GOOD}\n[model]\nn_components = 0\n", "[model] "),
    "an unknown family": (
        f'[source]\n{GOOD}\n[model.fields]\nx = "LogNorml"\n',
        "[model.fields] x: unknown family 'LogNorml': did you mean LogNormal?",
    ),
    "an unknown parameter": (
        f'[source]\n{GOOD}\n[model.fields]\nx = {{ family = "Poisson", period = 3 }}\n',
        "[model.fields] x: Poisson has no parameter 'period'",
    ),
    "an unknown step size": (
        f'[source]\n{GOOD}\n[model]\nstep_size = "PowerDecy"\n',
        "[model] step_size: unknown step size 'PowerDecy': did you mean PowerDecay?",
    ),
    "an empty name in a group": (
        f'[source]\n{GOOD}\n[model.fields]\n"lat," = "MultivariateNormal"\n',
        "[model.fields] 'lat,': a field's name is empty",
    ),
    "a path that matches nothing": (
        '[source]\nkind = "file"\npath = "*.csv"\n',
        "[source] path: no file matches ",
    ),
    "a path that doesn't exist": (
        '[source]\nkind = "file"\npath = "evnts.ndjson"\n',
        "[source] path: there is no file ",
    ),
    "a directory": ('[source]\nkind = "file"\npath = "."\n', "[source] path: . is a directory"),
    "an unknown ending": (
        '[source]\nkind = "file"\npath = "pipeline.toml"\n',
        "[source] path: pipeline.toml has no known ending: .ndjson, ",
    ),
    "an unknown data set": (
        '[source]\nkind = "river"\ndataset = "Shutle"\n',
        "[source] dataset: river has no data set 'Shutle'; did you mean Shuttle?",
    ),
    "a data set that is not here": (
        '[source]\nkind = "river"\ndataset = "Higgs"\n',
        "[source] dataset: Higgs is not on this machine; ",
    ),
    "a sink in the way": (
        f'[source]\n{GOOD}\n[sink]\nkind = "parquet"\npath = "events.ndjson"\n',
        "[sink] path: ",
    ),
    "a sink over another file": (
        f'[source]\n{GOOD}\n[sink]\nkind = "ndjson"\npath = "pipeline.toml"\n',
        "bytes that no checkpoint knows of; move it away or choose another path",
    ),
    "the same sink twice": (
        f'[source]\n{GOOD}\n[[sink]]\nkind = "stdout"\n[[sink]]\nkind = "stdout"\n',
        "[sink] stdout is declared twice",
    ),
    "the second sink's kind": (
        f'[source]\n{GOOD}\n[[sink]]\nkind = "stdout"\n[[sink]]\nkind = "parket"\n',
        "[[sink]] number 2 kind: unknown kind 'parket'; did you mean parquet?",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_one_sentence_and_status_2(case, tmp_path):
    text, words = WRONG[case]
    write_ndjson(tmp_path / "events.ndjson", [{"x": 1.0}])
    path = tmp_path / "pipeline.toml"
    path.write_text("[source\n" if text is None else text)

    status, text, said = call("run", path)

    assert status == 2
    assert said.startswith(f"error: {path}")
    assert words in said
    assert said.count("\n") == 1
    assert text == ""
    assert not list(tmp_path.rglob("*.arrow"))


def test_a_configuration_that_is_not_there(tmp_path):
    status, _, said = call("run", tmp_path / "pipeline.toml")
    assert status == 2
    assert said == f"error: there is no configuration file {tmp_path / 'pipeline.toml'}\n"


def test_a_whole_configuration(tmp_path):
    model = """
[model]
n_components = 4
step_size = { step_size = "HalfLife", records = 500 }
averaging = true
[model.fields]
amount = "LogNormal"
"lat, lon" = "MultivariateNormal"
country = { family = "Categorical" }
"""
    path = write_config(tmp_path, 'kind = "stdin"', '[sink]\nkind = "parquet"\npath = "scored"', model=model)
    config = load_config(path)
    assert config.resolve("scored") == tmp_path / "scored"
    assert config.resolve("/elsewhere") == config.path.__class__("/elsewhere")
    built = build_model(config.model)
    assert built.fields == {
        "amount": LogNormal(),
        ("lat", "lon"): MultivariateNormal(),
        "country": Categorical(),
    }
    assert built._get_params()["step_size"] == HalfLife(500)
    assert text_fields(config.model) == {"country"}
    assert declared_fields(config.model) == {"amount", "lat", "lon", "country"}


def test_explicit_components():
    section = ModelSection(
        n_components=2,
        components=[
            {"heads": {"family": "Binomial", "n": 10, "p": 0.4}},
            {"heads": {"family": "Binomial", "n": 10, "p": 0.6}},
        ],
        weights=[0.5, 0.5],
    )
    assert build_model(section).n_components == 2
    assert declared_fields(section) == {"heads"}


def test_sections_left_out_have_defaults(tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text('[source]\nkind = "stdin"\n')
    config = load_config(path)
    assert (config.checkpoint.directory, config.checkpoint.every_records, config.checkpoint.keep) == (
        "state",
        10_000,
        5,
    )
    assert config.sinks == []
    assert declared_fields(config.model) is None


def test_load_config_raises_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "no.toml")


def test_a_configuration_may_begin_with_a_mark_of_its_byte_order(tmp_path):
    (tmp_path / "events.ndjson").write_text("{}\n")
    (tmp_path / "pipeline.toml").write_text(f"[source]\n{GOOD}\n", encoding="utf-8-sig")
    assert load_config(tmp_path / "pipeline.toml").source.path == "events.ndjson"
