"""The pictures of a champion: its predictions and mistakes, and what its layers respond to.

    sieve pictures --study NAME [--json]

predictions.py   predictions, and the images to show: chosen with a fixed seed, balanced over classes
draw_all.py      all pictures of a study's champion, as PNG files with an index of titles and captions
sheet.py         a figure with a title, a caption, and places measured in inches
grids.py         images with their predictions; the most confident mistakes
confusion.py     the confusion matrix
per_class.py     precision, recall and F1 of every class
calibration.py   accuracy against confidence
coverage.py      wrong answers against the share of images that are answered
subject.py       the network and the images that layers.py and attribution.py analyse
layers.py        the first layer's filters and responses; the feature maps of every conv layer
attribution.py   guided back-propagation and Grad-CAM

They show validation images until `search.evaluate` has opened the test set, and test images afterwards. The look keeps
what the pictures need, so nothing here opens the test set.
"""
