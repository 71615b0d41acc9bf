"""What lies in docker/ fits the rest: files that are named exist, the dashboard asks for metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

import streammix as sm
from streammix.pipeline.config import load_config
from streammix.pipeline.metrics import Metrics
from streammix.pipeline.progress import Tally
from streammix.pipeline.serving import Newest, Service

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
ALARMS = yaml.safe_load((DOCKER / "prometheus" / "alarms.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "streammix.json").read_text())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The names of all metrics of a run and of a scorer."""
    state = tmp_path_factory.mktemp("state") / "state.arrow"
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}])
    sm.save(model, state)
    metrics = Metrics()
    metrics.took(Tally(lag=3), model)
    tally = Tally(lag=3)
    tally.scored, tally.log_density = 5, -7.0
    metrics._published = -1e9
    metrics.took(tally, model)
    metrics.checkpointed(1.0, 10)
    supervised = Metrics()
    supervised.took(Tally(), learnt_unattended())
    service = Service(Newest(str(state)), "streammix")
    service.close()
    text = metrics.text().decode() + supervised.text().decode() + generate_latest(service._registry).decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    return set(kinds) | {f"{name}_bucket" for name, kind in kinds.items() if kind == "histogram"}


def learnt_unattended():
    model = sm.AutoMixture(n_components=40, fields={"x": sm.Normal()}, seed=1)
    for i in range(70):  # fewer than there are parameters
        model.learn_one({"x": 8.0 * (i % 2) + i / 400})
    assert model.labels[-1] == -1  # of one that no record has made yet
    return model


def test_the_dashboard_and_the_alarms_ask_for_metrics_that_there_are(exported):
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for rule in ALARMS]
    names = {name for expression in asked for name in re.findall(r"\b(?:streammix|process)_\w+", expression)}
    assert len(names) > 15
    assert names <= exported


def test_the_dashboard_tells_components_apart_by_place_or_by_label():
    panels = [panel for panel in DASHBOARD["panels"] if "streammix_component" in panel["targets"][0]["expr"]]
    assert [panel["targets"][0]["legendFormat"] for panel in panels] == ["component {{component}}{{label}}"] * 2
    for model, shown in (
        (sm.Mixture(components=[{"x": sm.Normal(0, 1)}]), "component"),
        (learnt_unattended(), "label"),
    ):
        metrics = Metrics()
        metrics.took(Tally(), model)
        found = re.findall(r'^streammix_component_weight\{(.*?)="(.*?)"\}', metrics.text().decode(), re.MULTILINE)
        labels = [str(label) for label in getattr(model, "labels", [0]) if label >= 0]
        assert found == [(shown, label) for label in labels]


def test_prometheus_understands_the_alarms_and_the_dashboard(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on this machine")
    asked = [target["expr"].replace("$__rate_interval", "1m") for x in DASHBOARD["panels"] for target in x["targets"]]
    rules = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(asked)]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    for what in (["config", DOCKER / "prometheus" / "prometheus.yml"], ["rules", panels]):
        done = subprocess.run([promtool, "check", *what], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_a_run_is_on_the_dashboard(exported):
    shown = json.dumps(DASHBOARD)
    own = {name for name in exported if name.startswith("streammix_") and not name.endswith(("_bucket", "_created"))}
    left_out = {
        "streammix_reloads",
        "streammix_reload_failures",
        "streammix_model_records",
        "streammix_checkpoints_total",
        "streammix_faults_total",
    }
    assert {name for name in own - left_out if name not in shown} == set()


def test_the_runbook_names_every_alarm():
    runbook = (DOCKER / "README.md").read_text()
    for rule in ALARMS:
        assert f"| {rule['alert']} |" in runbook


def test_files_that_are_mounted_or_copied_exist():
    mounts = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    for mount in mounts:
        source = mount.split(":")[0]
        assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name}" in kept


def test_our_own_services_have_no_rights_and_are_reached_from_this_machine_alone():
    for name in ("generator", "learner", "scorer"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_learner_s_configuration_is_accepted():
    config = load_config(DOCKER / "pipeline.toml")
    assert config.metrics.listen == "0.0.0.0:9464"
    assert config.checkpoint.directory == "/state"
