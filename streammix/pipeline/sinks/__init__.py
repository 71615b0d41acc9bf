"""Sinks: where scored records go, one row a record.

A row has the record's position (``source`` and ``offset``), the most responsible component, the
responsibilities of all components and the score, -log p(x). Until the model has warmed up the
responsibilities are uniform and the score is 0.
"""
