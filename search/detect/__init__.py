"""Finds objects in pictures or a video with a pre-trained detector.

    sieve detect SOURCE [--json]

find_objects.py  runs the detector on all frames of a source
media.py         the interface of all sources, and pictures as a source
video.py         a video as a source, with PyAV (extra `video`)
boxes.py         draws boxes, classes and scores into a picture
counts.py        the detected objects as CSV files
"""
