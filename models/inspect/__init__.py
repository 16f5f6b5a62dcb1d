"""Functions that compute arrays from a trained network and images, to explain the network. Nothing is drawn here.

as_found.py          a network in eval mode within a block, and unchanged afterwards
filters.py           the first conv layer's weights, and its responses to one image
feature_maps.py      the feature maps of every conv layer
guided_backprop.py   the pixels that excite a neuron (Springenberg et al. 2015)
grad_cam.py          the regions that support a class (Selvaraju et al. 2017)

Images are normalised as for training, shape (N, C, H, W), on the network's device. The functions work for any nn.Module
with conv layers that takes such images and returns logits.
"""

from models.inspect.feature_maps import feature_maps
from models.inspect.filters import filter_responses, first_conv_name, first_filters
from models.inspect.grad_cam import grad_cam
from models.inspect.guided_backprop import Neuron, guided_backprop, strongest_neurons

__all__ = [
    "Neuron",
    "feature_maps",
    "filter_responses",
    "first_conv_name",
    "first_filters",
    "grad_cam",
    "guided_backprop",
    "strongest_neurons",
]
