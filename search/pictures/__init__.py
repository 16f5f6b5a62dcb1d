"""The pictures of a champion: what it says of images, where it errs, and what its layers look at.

    python -m search.pictures --study NAME [--json]

predictions.py   what was predicted, and the images that are shown: chosen with a fixed seed, balanced over classes
draw.py          all pictures of a study's champion, as PNG files with an index of titles and captions
sheet.py         a figure with a title, a caption, and places measured in inches
grids.py         images with their predictions; the most confident mistakes
confusion.py     the confusion matrix
per_class.py     precision, recall and F1 of every class
calibration.py   whether the champion is right as often as it is sure
subject.py       the network and the images with which the others look into it
layers.py        the first layer's filters and responses; the feature maps of every conv layer
attribution.py   guided back-propagation and Grad-CAM

They show validation images until `search.evaluate` has taken its look at the test images, and those afterwards: the
look itself keeps what the pictures need, nothing here opens the test set.
"""
