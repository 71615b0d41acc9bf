"""Sinks: where scored records go, one row a record.

A row has the record's position (``source`` and ``offset``), the most responsible component, the
responsibilities of all components and the score, -log p(x). Until the model has warmed up the
responsibilities are uniform and the score is 0.

The rows of an `AutoMixture` have the label of that component, too, and the probability that the background made the
record. Its components are numbered by place, and places change with the number of components; labels don't.
"""
