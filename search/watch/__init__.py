"""The live page: every study's report in the browser, kept up to date while its search runs.

server.py       the web server on the loopback address, and its routes
events.py       server-sent events: one poller for all readers of a page
live_study.py   a study's progress and its rendered report, with what has changed since a version
seldom.py       what takes long: figures that are drawn again only when due, importances by a process of their own
study_list.py   the first page: all studies
live.js         updates an open report; study_list.js: the first page
"""
