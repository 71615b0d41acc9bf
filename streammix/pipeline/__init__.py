"""The main job: a stream read, scored, learnt and checkpointed, effectively once.

`flow` says what passes through (and the protocols of sources and sinks, for writing one's own), `config`
reads the TOML file, `sources` and `sinks` know no model, `decode` turns bytes into records, `runner` is the
ordered loop.
"""
