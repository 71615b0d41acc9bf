"""Text that a run reads by other rules, or that is out of all bounds."""

import json

from pipeline_tools import FILES, events, write_config

from streammix.pipeline import commands
from streammix.pipeline.flow import Batch, Refusal
from streammix.store import CheckpointStore


def test_a_decoder_of_ones_own(tmp_path):
    def decode_pairs(batch):
        records, kept, refused = [], [], list(batch.refused)
        for i, text in enumerate(batch.texts):
            try:
                records.append({name: float(x) for name, x in (pair.split("=") for pair in text.decode().split(";"))})
                kept.append(i)
            except ValueError:
                refused.append(Refusal(batch.source, int(batch.offsets[i]), "no pairs", text))
        return Batch(batch.source, batch.offsets[kept], records, [batch.texts[i] for i in kept], refused)

    lines = [f"x={i % 7};y={i % 5 + 1}" for i in range(300)]
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.ndjson").write_text("\n".join([*lines, "x=one"]) + "\n")
    model = '[model]\nn_components = 2\nwarm_up = 100\nseed = 1\n[model.fields]\nx = "Normal"\ny = "Exponential"\n'
    config = write_config(tmp_path, FILES, model=model)

    commands.run(config, decode=decode_pairs)

    found = CheckpointStore(tmp_path / "state", readonly=True).latest()
    assert found.model.n_seen == 300
    [dead] = (tmp_path / "state" / "_dead-letter.ndjson").read_text().splitlines()
    assert json.loads(dead) == {
        "position": {"source": "events/a.ndjson", "offset": sum(len(line) + 1 for line in lines)},
        "reason": "no pairs",
        "raw": "x=one",
    }


def test_a_huge_line_is_one_dead_letter_and_one_line_in_the_log(tmp_path, caplog):
    good = [json.dumps(record) for record in events(200)]
    (tmp_path / "events").mkdir()
    with open(tmp_path / "events" / "a.ndjson", "w") as file:
        file.write("\n".join(good[:100]) + '\n{"x": "')
        for _ in range(100):
            file.write("x" * 1_000_000)
        file.write('"}\n' + "\n".join(good[100:]) + "\n")
    config = write_config(tmp_path, FILES)

    commands.run(config)

    [line] = [record.message for record in caplog.records if "100000009 bytes" in record.message]
    assert "events/a.ndjson at" in line
    assert "max_record_bytes" in line
    [dead] = (tmp_path / "state" / "_dead-letter.ndjson").read_text().splitlines()
    assert len(dead) < 10_000
    assert CheckpointStore(tmp_path / "state", readonly=True).latest().model.n_seen == 200
