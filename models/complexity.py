"""What a network costs, as Tables 1 and 6 count it: no tensors, and nothing here imports torch."""

from collections.abc import Sequence

from models.layers import Layer, layers
from models.spec import Network


def parameters(network: Network) -> int:
    """Learned values: weights, gamma and beta of batch normalisation, bias of the classifier. "# params" in Table 6."""
    return parameters_of(layers(network))


def multiply_adds(network: Network) -> int:
    """Multiply-adds of the convolutions and the classifier for one image. "FLOPs" in Table 1, which rounds them."""
    return multiply_adds_of(layers(network))


def parameters_of(listed: Sequence[Layer]) -> int:
    """Of layers that are no `Network`'s; each without batch normalisation has a bias."""
    return sum(weights(layer) + layer.outputs * (2 if layer.norm else 1) for layer in listed)


def multiply_adds_of(listed: Sequence[Layer]) -> int:
    """For one image."""
    return sum(weights(layer) * layer.size**2 for layer in listed)


def depth_of(listed: Sequence[Layer]) -> int:
    """Weighted layers; projection shortcuts do not count."""
    return sum(not layer.shortcut for layer in listed)


def weights(layer: Layer) -> int:
    """Values in the layer's filters, without normalisation and bias."""
    return layer.inputs * layer.outputs * layer.kernel**2


def activations(network: Network) -> int:
    """Values that leave the convolutions for one image; a backward pass needs them twice, before and after BN."""
    return sum(layer.outputs * layer.size**2 for layer in layers(network) if layer.norm)
