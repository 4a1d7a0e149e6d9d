"""Images and texts as vectors of one space, like CLIP (Radford et al., 2021, arXiv:2103.00020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgekit.models.encoder import Encoder
from edgekit.models.resnet8 import ResNet8


class TwoTower(nn.Module):
    """A :class:`ResNet8` for the image, an :class:`Encoder` for the text; both end in a vector of length 1.

    The product of the two vectors is the cosine similarity; each tower can be deployed by itself.

    Args:
        in_channels: of the images, [N, in_channels, H, W] with H and W at least 4.
        vocabulary: number of token ids.
        length: longest text in tokens, [N, T], int64, T at most ``length``.
        outputs: length of the vectors, two tensors [N, outputs].
        width: features of one step of the text.
        depth: transformer blocks of the text.
        heads: of attention.
        channels: of the image tower's first stack.
    """

    def __init__(
        self,
        in_channels: int = 3,
        vocabulary: int = 256,
        length: int = 16,
        outputs: int = 32,
        width: int = 32,
        depth: int = 1,
        heads: int = 2,
        channels: int = 16,
    ) -> None:
        super().__init__()
        self.image = ResNet8(in_channels, classes=outputs, width=channels)
        self.text = Encoder(vocabulary, length, classes=outputs, width=width, depth=depth, heads=heads)

    def forward(self, image: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Return ``image_vector`` and ``text_vector``."""
        return {
            "image_vector": functional.normalize(self.image(image)),
            "text_vector": functional.normalize(self.text(tokens)),
        }
