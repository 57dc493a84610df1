"""What a network costs, as Tables 1 and 6 count it: no tensors, and nothing here imports torch."""

from models.layers import Layer, layers
from models.spec import Network


def parameters(network: Network) -> int:
    """Learned values: weights, gamma and beta of batch normalisation, bias of the classifier. "# params" in Table 6."""
    return sum(weights(layer) + layer.outputs * (2 if layer.norm else 1) for layer in layers(network))


def multiply_adds(network: Network) -> int:
    """Multiply-adds of the convolutions and the classifier for one image. "FLOPs" in Table 1, which rounds them."""
    return sum(weights(layer) * layer.size**2 for layer in layers(network))


def weights(layer: Layer) -> int:
    """Values in the layer's filters, without normalisation and bias."""
    return layer.inputs * layer.outputs * layer.kernel**2


def activations(network: Network) -> int:
    """Values that leave the convolutions for one image; a backward pass needs them twice, before and after BN."""
    return sum(layer.outputs * layer.size**2 for layer in layers(network) if layer.norm)
