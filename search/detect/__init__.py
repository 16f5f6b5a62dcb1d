"""Objects in a user's pictures or video, found by a pre-trained detector that is taken as it is.

    python -m search.detect SOURCE [--json]

run.py      the detector taken over all frames of a source
media.py    what is looked at: pictures, and what all sources have in common
video.py    a video, with PyAV (extra `video`)
draw.py     boxes, classes and scores drawn into a picture
tally.py    what was found, as CSV
"""
