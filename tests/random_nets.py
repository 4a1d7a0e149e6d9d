"""Nets drawn by hypothesis: blocks that take and give [N, C, H, W], each mixing channels in its own way; a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from nets import Written
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 12  # of the images
MOST = 24  # channels: wider blocks are narrowed first


def convolution(width: int, outputs: int, kernel: int, stride: int, norm: bool, bias: bool) -> nn.Module:
    layers = [nn.Conv2d(width, outputs, kernel, stride, kernel // 2, bias=bias)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.Hardswish())


def grouped(width: int, each: int, groups: int, shuffled: bool) -> nn.Module:
    """Groups of a convolution, shuffled or not."""
    return Written(
        lambda s, x: F.channel_shuffle(F.relu(s.inner(s.outer(x))), groups) if shuffled else s.inner(s.outer(x)),
        outer=nn.Conv2d(width, 2 * groups, 1),
        inner=nn.Conv2d(2 * groups, each * groups, 3, padding=1, groups=groups),
    )


def depthwise(width: int, multiplier: int) -> nn.Module:
    return nn.Conv2d(width, width * multiplier, 3, padding="same", groups=width)


def residual(width: int, middle: int) -> nn.Module:
    inner = nn.Sequential(
        nn.Conv2d(width, middle, 3, padding=1), nn.ReLU(), nn.Conv2d(middle, width, 1), nn.BatchNorm2d(width)
    )
    return Written(lambda s, x: F.relu(s.inner(x) + x), inner=inner)


def gate(width: int) -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(width, 2, 1), nn.ReLU(), nn.Conv2d(2, width, 1))
    return Written(lambda s, x: x * torch.sigmoid(s.inner(F.adaptive_avg_pool2d(x, 1))), inner=inner)


def reducing_gate(width: int) -> nn.Module:
    """A gate of the mean and the largest over channels."""
    return Written(
        lambda s, x: x * torch.sigmoid(s.gate(torch.cat([x.mean(1, True), x.amax(1, True)], 1))),
        gate=nn.Conv2d(2, 1, 3, padding=1),
    )


def pool(width: int, kind: str) -> nn.Module:
    return {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[kind](2, ceil_mode=True)


def dense(width: int, grown: int) -> nn.Module:
    """What came in beside what is made of it."""
    return Written(lambda s, x: torch.cat([x, s.layer(F.relu(x))], 1), layer=nn.Conv2d(width, grown, 3, padding=1))


def branches(width: int, piece: int) -> nn.Module:
    """Pieces of channels, each convolved with the one before added."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        first, second, third = s.inner(x).chunk(3, 1)
        second = s.a(second + first)
        return torch.cat([first, second, s.b(third + second)], 1)

    return Written(
        forward, inner=nn.Conv2d(width, 3 * piece, 1), a=nn.Conv2d(piece, piece, 3, padding=1),
        b=nn.Conv2d(piece, piece, 3, padding=1),
    )  # fmt: skip


def norm(width: int, kind: str) -> nn.Module:
    """A norm over groups of two channels, over one, over channels last, or PReLU."""
    if kind == "group":
        return nn.Sequential(nn.Conv2d(width, 8, 1), nn.GroupNorm(4, 8))
    if kind == "layer":
        return Written(lambda s, x: s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=nn.LayerNorm(width))
    if kind == "instance":
        return nn.InstanceNorm2d(width, affine=True, track_running_stats=True)
    return nn.PReLU(width)


def resampled(width: int, kind: str, outputs: int) -> nn.Module:
    """Twice the size by a transposed convolution, by shuffled pixels, by neighbours; then half of it again."""
    up = {
        "transposed": lambda: nn.ConvTranspose2d(width, outputs, 2, 2),
        "pixels": lambda: nn.Sequential(nn.Conv2d(width, 4 * outputs, 1), nn.PixelShuffle(2)),
        "neighbours": lambda: nn.Sequential(nn.Conv2d(width, outputs, 1), nn.Upsample(scale_factor=2)),
    }[kind]()
    return nn.Sequential(up, nn.MaxPool2d(2))


def rearranged(width: int, kind: str) -> nn.Module:
    """Channels in a stored order, backwards, every second one, with zeros beside them, rolled places."""
    change: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
        "order": lambda s, x: x.index_select(1, s.order),
        "flip": lambda s, x: x.flip(1),
        "second": lambda s, x: x[:, ::2],
        "padded": lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 2)),
        "rolled": lambda s, x: torch.roll(x, (-1, 2), (2, 3)),
    }
    made = Written(change[kind])
    made.register_buffer("order", torch.randperm(width))
    return made


def attention(width: int, heads: int, both: bool) -> nn.Module:
    """Heads over places; one layer makes queries, keys and values, or three."""
    each = 4

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        y = x.flatten(2).transpose(1, 2)
        if both:
            q, k, v = s.qkv(y).reshape(n, h * w, 3, heads, each).permute(2, 0, 3, 1, 4)
            z = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v
        else:
            q, k, v = (layer(y).view(n, h * w, heads, each).transpose(1, 2) for layer in (s.q, s.k, s.v))
            z = F.scaled_dot_product_attention(q, k, v)
        return (y + s.out(z.transpose(1, 2).reshape(n, h * w, heads * each))).transpose(1, 2).unflatten(2, (h, w))

    names = {"qkv": 3} if both else {"q": 1, "k": 1, "v": 1}
    layers = {name: nn.Linear(width, many * heads * each) for name, many in names.items()}
    return Written(forward, **layers, out=nn.Linear(heads * each, width))


def recurrent(width: int, kind: str, hidden: int, both: bool) -> nn.Module:
    """Along the rows of the image, columns being items."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = s.cell(x.permute(0, 3, 2, 1).reshape(n * w, h, c))[0]
        return y.reshape(n, w, h, -1).permute(0, 3, 2, 1)

    return Written(forward, cell=getattr(nn, kind)(width, hidden, batch_first=True, bidirectional=both))


def gated_pair(width: int, wide: int) -> nn.Module:
    """A linear pair on channels last, with a gate and a residual."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        return (y + s.down(F.silu(s.gate(y)) * s.up(y))).permute(0, 3, 1, 2)

    return Written(forward, gate=nn.Linear(width, wide), up=nn.Linear(width, wide), down=nn.Linear(wide, width))


def products(width: int, inner: int) -> nn.Module:
    """einsum with a stored matrix, then a product of channels with channels."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = torch.einsum("nchw,dc->ndhw", x, s.matrix).flatten(2)
        return (torch.bmm(y, y.transpose(1, 2)).softmax(-1) @ y).unflatten(2, x.shape[2:])

    made = Written(forward)
    made.matrix = nn.Parameter(torch.randn(inner, width))
    return made


KINDS: dict[str, tuple[Callable[..., nn.Module], tuple[Any, ...]]] = {
    "convolution": (
        convolution, (st.integers(1, 9), st.sampled_from((1, 3)), st.integers(1, 2), st.booleans(), st.booleans()),
    ),
    "grouped": (grouped, (st.integers(1, 3), st.integers(2, 4), st.booleans())),
    "depthwise": (depthwise, (st.integers(1, 3),)),
    "residual": (residual, (st.integers(1, 8),)),
    "gate": (gate, ()),
    "reducing gate": (reducing_gate, ()),
    "pool": (pool, (st.sampled_from(("max", "average")),)),
    "dense": (dense, (st.integers(1, 6),)),
    "branches": (branches, (st.integers(1, 5),)),
    "norm": (norm, (st.sampled_from(("group", "layer", "instance", "prelu")),)),
    "resampled": (resampled, (st.sampled_from(("transposed", "pixels", "neighbours")), st.integers(1, 6))),
    "rearranged": (rearranged, (st.sampled_from(("order", "flip", "second", "padded", "rolled")),)),
    "attention": (attention, (st.integers(1, 3), st.booleans())),
    "recurrent": (recurrent, (st.sampled_from(("GRU", "LSTM", "RNN")), st.integers(2, 6), st.booleans())),
    "gated pair": (gated_pair, (st.integers(1, 8),)),
    "products": (products, (st.integers(1, 6),)),
}  # fmt: skip


class Random(nn.Module):
    """Blocks, one after the other, then a head."""

    def __init__(self, blocks: list[tuple[Any, ...]], head: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.drawn, self.head = blocks, head
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1))
        for kind, *options in blocks:
            width = self._probe().shape[1]
            if width > MOST:
                self.body.append(nn.Conv2d(width, MOST // 2, 1))
            self.body.append(KINDS[kind][0](min(width, MOST // 2) if width > MOST else width, *options))
        probe = self._probe()
        self.hidden = nn.Linear(probe.flatten(1).shape[1] if head == "flatten" else probe.shape[1], 6)
        self.last = nn.Linear(6, 3)
        self._break_symmetries()

    def _probe(self) -> Tensor:
        with torch.no_grad():
            return self.body.eval()(torch.zeros(2, 3, SIDE, SIDE))

    def _break_symmetries(self) -> None:
        for layer in self.modules():
            if isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d)):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2)
            if isinstance(getattr(layer, "weight", None), nn.Parameter) and layer.weight.dim() == 1:
                nn.init.uniform_(layer.weight, 0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x = x.flatten(1) if self.head == "flatten" else x.mean((2, 3))
        return self.last(torch.relu(self.hidden(x)))

    def __repr__(self) -> str:
        return f"Random({self.drawn}, {self.head!r}, ...)"


BLOCKS = st.one_of(*(st.tuples(st.just(kind), *options) for kind, (_, options) in KINDS.items()))
NETS = st.builds(
    Random, st.lists(BLOCKS, min_size=1, max_size=4), st.sampled_from(("flatten", "mean")), st.integers(0, 9)
)
