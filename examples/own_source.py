"""A source and a sink of one's own: a table of SQLite in, another one out, each record once.

Of the two runs, the second one goes on where the first one ended. Kill one at any instant and run it again: each row
moves the model once and stands once in the output.
"""

import sqlite3
import tempfile
from pathlib import Path

import numpy as np

from streammix.pipeline.commands import run
from streammix.pipeline.flow import Batch

CONFIGURATION = """
[source]
kind = "own"
[model]
n_components = 2
warm_up = 200
seed = 1
[model.fields]
x = "Normal"
[checkpoint]
every_records = 500
"""


class TableSource:
    """Reads the rows of the table `events` in the order of their numbers."""

    def __init__(self, position=None):
        self.last = position["last"] if position else 0
        self.database = sqlite3.connect("events.db")

    def read(self, limit):
        query = "SELECT rowid, x FROM events WHERE rowid > ? ORDER BY rowid LIMIT ?"
        rows = self.database.execute(query, (self.last, limit)).fetchall()
        if not rows:
            return None  # the end; an empty Batch would say that there is nothing just now
        self.last = rows[-1][0]
        return Batch("events", np.array([number for number, _ in rows]), [{"x": x} for _, x in rows])

    def position(self):
        return {"last": self.last}

    def acknowledge(self):
        pass

    def close(self):
        self.database.close()


class TableSink:
    """Writes one row a record. The rows of a replay take the places of those that were written before."""

    name = "table"

    def __init__(self, recorded=None):
        self.database = sqlite3.connect("scored.db")
        self.database.execute("CREATE TABLE IF NOT EXISTS scored (record INTEGER PRIMARY KEY, component, score)")

    def write(self, rows):
        values = zip(rows.offsets.tolist(), rows.components.tolist(), rows.scores.tolist(), strict=True)
        self.database.executemany("INSERT OR REPLACE INTO scored VALUES (?, ?, ?)", values)

    def flush(self, records):
        self.database.commit()
        return {"records": records}

    def close(self):
        self.database.close()


def main():
    """Make a table, and learn it in two runs."""
    random = np.random.default_rng(1)
    database = sqlite3.connect("events.db")
    database.execute("CREATE TABLE events (x)")
    Path("pipeline.toml").write_text(CONFIGURATION)
    for n in (1500, 1000):
        x = random.normal(4.0 * random.integers(0, 2, n), 1.0)
        database.executemany("INSERT INTO events VALUES (?)", [(value,) for value in x.tolist()])
        database.commit()
        run(Path("pipeline.toml"), source=TableSource, sinks=[TableSink])
    database.close()
    scored = sqlite3.connect("scored.db")
    count, mean = scored.execute("SELECT count(*), avg(score) FROM scored").fetchone()
    scored.close()
    print(f"{count} records scored once each; mean score {mean:.3f}")


if __name__ == "__main__":
    import contextlib

    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        main()
