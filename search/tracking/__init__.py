"""MLflow: the only package that imports it. The database is the truth; MLflow is a view of it.

client.py     connects, with short timeouts, telemetry off and a schema that nobody races for
tags.py       every tag that is written, and where a run's software versions come from
follower.py   one pass: what the database knows and MLflow does not yet
mirror.py     the supervisor's thread that repeats the pass and never fails anything
registry.py   the champion: registered, read back, loaded, and given its test result
serving.py    the model's code inside MLflow; loads without Sieve
"""
