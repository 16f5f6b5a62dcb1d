"""The only package that imports MLflow. MLflow mirrors the database, which is the source of truth.

client.py           the connection: short timeouts, telemetry off, the schema created under a lock
precheck.py         refuses a search that MLflow could not record
moved_home.py       corrects the places of artifacts after the home was moved
tags.py             the names of all tags
contents.py         tags, metrics and parameters of a run, from a stage or a trial
follower.py         one pass: sends what MLflow lacks
mirror.py           the supervisor's thread that repeats the pass and never fails a search
backlog.py          trials and looks that MLflow lacks
packaging.py        the classifier as an MLflow model
model_registry.py   the champion: uploaded, verified, registered, loaded, and given its test result
serving.py          the code of the registered model; loads without Sieve
log_pictures.py     the champion's pictures in its run
"""
