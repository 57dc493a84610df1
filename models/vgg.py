"""The networks that the paper compares its own with, as layers for counting: VGG-16 and VGG-19 (its ref. [41])."""

from models.layers import Layer

STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""3x3 convolutions on maps of 224, 112, 56, 28 and 14 pixels; a max-pool follows each stage."""
WIDTHS = (64, 128, 256, 512, 512)
HEAD = (4096, 4096, 1000)
"""The three fully connected layers."""


def vgg(depth: int) -> list[Layer]:
    """Weighted layers for one image of 224 x 224; none has batch normalisation, each a bias. Raises ValueError."""
    if depth not in STAGES:
        raise ValueError(f"VGG has 16 or 19 layers here, not {depth}")
    found, inputs = list[Layer](), 3
    for stage, (number, width) in enumerate(zip(STAGES[depth], WIDTHS, strict=True)):
        for index in range(number):
            name = f"stage{stage + 1}.{index}"
            found.append(
                Layer(name=name, inputs=inputs, outputs=width, kernel=3, stride=1, size=224 >> stage, norm=None)
            )
            inputs = width
    inputs *= 7 * 7
    for index, outputs in enumerate(HEAD):
        found.append(Layer(name=f"fc{index}", inputs=inputs, outputs=outputs, kernel=1, stride=1, size=1, norm=None))
        inputs = outputs
    return found
