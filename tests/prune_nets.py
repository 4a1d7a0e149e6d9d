"""Small nets, each with one way in which channels depend on one another, as published nets have it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nets import Written
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, tuple[Tensor, ...]]
IMAGE, SEQUENCE = (2, 3, 12, 12), (2, 6, 8)


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def image(forward: Callable[..., object], **layers: nn.Module) -> Made:
    return Written(forward, **layers), (torch.randn(IMAGE),)


def sequence(forward: Callable[..., object], **layers: nn.Module) -> Made:
    return Written(forward, **layers), (torch.randn(SEQUENCE),)


def shuffle_net() -> Made:
    """ShuffleNetV2: half of the channels pass, the others are shuffled with them."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        for branch in (s.first, s.second, s.third):
            kept, worked = x.chunk(2, dim=1)
            x = torch.cat([kept, branch(worked)], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return s.head(x.mean((2, 3)))

    def branch() -> nn.Sequential:
        return nn.Sequential(block(8, 8, 1), block(8, 8, groups=8), block(8, 8, 1))

    return image(forward, stem=block(3, 16), first=branch(), second=branch(), third=branch(), head=nn.Linear(16, 4))


def shuffled_groups() -> Made:
    """ShuffleNet: grouped 1x1 convolutions with a shuffle of channels in between."""
    return image(
        lambda s, x: s.head(s.third(F.channel_shuffle(s.second(s.first(s.stem(x))), 4)).mean((2, 3))),
        stem=block(3, 16), first=block(16, 32, 1, groups=4), second=block(32, 32, groups=32),
        third=block(32, 16, 1, groups=4), head=nn.Linear(16, 4),
    )  # fmt: skip


def res2_net() -> Made:
    """Res2Net: channels in four pieces, each convolved with the one before added."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        pieces = torch.split(s.inner(x), 4, 1)
        results = [pieces[0]]
        for piece, layer in zip(pieces[1:], (s.a, s.b, s.c), strict=True):
            results.append(layer(piece + results[-1]))
        return s.head(torch.relu(s.outer(torch.cat(results, 1)) + x).mean((2, 3)))

    return image(
        forward, stem=block(3, 12), inner=block(12, 16, 1), a=block(4, 4), b=block(4, 4), c=block(4, 4),
        outer=nn.Conv2d(16, 12, 1), head=nn.Linear(12, 4),
    )  # fmt: skip


def dense_net() -> Made:
    """DenseNet: every layer reads all before it."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        for layer in (s.a, s.b, s.c):
            x = torch.cat([x, layer(x)], 1)
        return s.head(torch.relu(s.norm(x)).mean((2, 3)))

    def layer(width: int) -> nn.Sequential:
        return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 6, 3, padding=1, bias=False))

    return image(
        forward, stem=nn.Conv2d(3, 8, 3), a=layer(8), b=layer(14), c=layer(20), norm=nn.BatchNorm2d(26),
        head=nn.Linear(26, 4),
    )  # fmt: skip


def inception() -> Made:
    """Inception: branches of other kernels, a pool among them, side by side; then flattened."""
    return image(
        lambda s, x: s.head(
            torch.cat([s.a(y := s.stem(x)), s.b(y), s.c(F.max_pool2d(y, 3, 1, 1))], 1).flatten(1)
        ),
        stem=block(3, 8, stride=2), a=block(8, 4, 1), b=nn.Sequential(block(8, 6, 1), block(6, 6, 5)), c=block(8, 4, 1),
        head=nn.Linear(14 * 36, 4),
    )  # fmt: skip


def efficient_net() -> Made:
    """EfficientNet: inverted residuals with squeeze and excitation."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        y = s.depthwise(s.expand(x))
        gate = s.excite(F.silu(s.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return s.head(s.last(s.project(y * torch.sigmoid(gate)) + x).mean((2, 3)))

    return image(
        forward, stem=block(3, 8), expand=block(8, 24, 1), depthwise=block(24, 24, groups=24),
        squeeze=nn.Conv2d(24, 4, 1), excite=nn.Conv2d(4, 24, 1), project=nn.Conv2d(24, 8, 1), last=block(8, 16, 1),
        head=nn.Linear(16, 4),
    )  # fmt: skip


def reg_net() -> Made:
    """RegNet and ResNeXt: grouped convolutions between 1x1 ones, with a shortcut."""
    return image(
        lambda s, x: s.head(torch.relu(s.c(s.b(s.a(y := s.stem(x)))) + s.short(y)).mean((2, 3))),
        stem=block(3, 8), a=block(8, 16, 1), b=block(16, 16, groups=4, stride=2), c=nn.Conv2d(16, 12, 1),
        short=nn.Conv2d(8, 12, 1, 2), head=nn.Linear(12, 4),
    )  # fmt: skip


def u_net() -> Made:
    """U-Net: down by pools, up by transposed convolutions, joined with what was on the way."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        first = s.first(x)
        second = s.second(F.max_pool2d(first, 2))
        deep = s.deep(F.max_pool2d(second, 2))
        up = s.merge(torch.cat([s.up(deep), second], 1))
        return s.head(torch.cat([F.interpolate(up, scale_factor=2, mode="nearest"), first], 1))

    return image(
        forward, first=block(3, 8), second=block(8, 12), deep=block(12, 16), up=nn.ConvTranspose2d(16, 12, 2, 2),
        merge=block(24, 12), head=nn.Conv2d(20, 2, 1),
    )  # fmt: skip


def detector() -> Made:
    """SSD: two maps, each with heads for classes and boxes, laid side by side."""

    def forward(s: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = s.fine(x)
        coarse = s.coarse(fine)
        parts = [(s.class_fine(fine), s.box_fine(fine)), (s.class_coarse(coarse), s.box_coarse(coarse))]
        flat = [
            [y.permute(0, 2, 3, 1).reshape(y.shape[0], -1, n) for y, n in zip(p, (3, 4), strict=True)] for p in parts
        ]
        return torch.cat([p[0] for p in flat], 1), torch.cat([p[1] for p in flat], 1)

    return image(
        forward, fine=nn.Sequential(block(3, 12), block(12, 16, stride=2)), coarse=block(16, 24, stride=2),
        class_fine=nn.Conv2d(16, 6, 3, padding=1), box_fine=nn.Conv2d(16, 8, 3, padding=1),
        class_coarse=nn.Conv2d(24, 6, 3, padding=1), box_coarse=nn.Conv2d(24, 8, 3, padding=1),
    )  # fmt: skip


def conv_next() -> Made:
    """ConvNeXt: depthwise 7x7, layer norm over channels last, a linear pair, a learned scale."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        y = s.norm(s.depthwise(x).permute(0, 2, 3, 1))
        y = s.scale * s.narrow(F.gelu(s.wide(y)))
        return s.head(s.last((x + y.permute(0, 3, 1, 2)).mean((2, 3))))

    model, inputs = image(
        forward, stem=nn.Conv2d(3, 8, 2, 2), depthwise=nn.Conv2d(8, 8, 7, padding=3, groups=8), norm=nn.LayerNorm(8),
        wide=nn.Linear(8, 32), narrow=nn.Linear(32, 8), last=nn.LayerNorm(8), head=nn.Linear(8, 4),
    )  # fmt: skip
    model.scale = nn.Parameter(torch.rand(8))
    return model, inputs


def shortcut_of_zeros() -> Made:
    """The first ResNets for CIFAR: a shortcut that is padded with channels of zeros."""
    return image(
        lambda s, x: s.head(
            torch.relu(s.b(s.a(y := s.stem(x))) + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).mean((2, 3))
        ),
        stem=block(3, 8), a=block(8, 16, stride=2), b=nn.Conv2d(16, 16, 3, padding=1), head=nn.Linear(16, 4),
    )  # fmt: skip


def super_resolution() -> Made:
    """Pixel shuffle upwards, unshuffle downwards."""
    return image(
        lambda s, x: s.last(s.back(F.pixel_shuffle(s.up(s.down(F.pixel_unshuffle(s.stem(x), 2))), 2))),
        stem=block(3, 6), down=block(24, 12), up=nn.Conv2d(12, 32, 1), back=block(8, 8), last=nn.Conv2d(8, 3, 3),
    )  # fmt: skip


def norms() -> Made:
    """Group and instance norm, PReLU."""
    return image(
        lambda s, x: s.head(s.act(s.instance(s.b(F.relu(s.group(s.a(x)))))).mean((2, 3))),
        a=nn.Conv2d(3, 12, 3), group=nn.GroupNorm(3, 12), b=nn.Conv2d(12, 8, 3),
        instance=nn.InstanceNorm2d(8, affine=True, track_running_stats=True), act=nn.PReLU(8), head=nn.Linear(8, 4),
    )  # fmt: skip


def attention_by_hand() -> Made:
    """One layer for queries, keys and values, heads by reshape, as timm and Swin write it."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        y = s.embed(x)
        q, k, v = s.qkv(s.norm(y)).reshape(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        weights = (q * 0.5 @ k.transpose(-2, -1)).softmax(-1)
        y = y + s.out((weights @ v).transpose(1, 2).reshape(n, t, 16))
        return s.head((y + s.narrow(F.gelu(s.wide(s.second(y))))).mean(1))

    return sequence(
        forward, embed=nn.Linear(8, 16), norm=nn.LayerNorm(16), qkv=nn.Linear(16, 48), out=nn.Linear(16, 16),
        second=nn.LayerNorm(16), wide=nn.Linear(16, 32), narrow=nn.Linear(32, 16), head=nn.Linear(16, 4),
    )  # fmt: skip


def grouped_queries() -> Made:
    """Llama: fewer heads of keys and values than of queries, RMS norm, a gated linear pair."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        y = s.embed(x)
        z = s.norm(y)
        q = s.q(z).view(n, t, 4, 6).transpose(1, 2)
        k, v = (layer(z).view(n, t, 2, 6).transpose(1, 2) for layer in (s.k, s.v))
        y = y + s.o(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2))
        return s.head((y + s.down(F.silu(s.gate(y)) * s.up(y)))[:, -1])

    return sequence(
        forward, embed=nn.Linear(8, 16), norm=nn.RMSNorm(16), q=nn.Linear(16, 24, bias=False),
        k=nn.Linear(16, 12, bias=False), v=nn.Linear(16, 12, bias=False), o=nn.Linear(24, 16, bias=False),
        gate=nn.Linear(16, 32), up=nn.Linear(16, 32), down=nn.Linear(32, 16), head=nn.Linear(16, 4),
    )  # fmt: skip


def repeated_keys() -> Made:
    """The same by expand and reshape, as Hugging Face repeats keys and values."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        y = s.embed(x)
        q = s.q(y).view(n, t, 4, 4).transpose(1, 2)
        k, v = (
            layer(y).view(n, t, 2, 4).transpose(1, 2)[:, :, None].expand(n, 2, 2, t, 4).reshape(n, 4, t, 4)
            for layer in (s.k, s.v)
        )
        return s.head(s.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, 16)).mean(1))

    return sequence(
        forward, embed=nn.Linear(8, 16), q=nn.Linear(16, 16), k=nn.Linear(16, 8), v=nn.Linear(16, 8),
        o=nn.Linear(16, 16), head=nn.Linear(16, 4),
    )  # fmt: skip


def encoder_layer() -> Made:
    """torch's own encoder layers."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="gelu")
    return sequence(
        lambda s, x: s.head(s.encoder(s.embed(x)).mean(1)), embed=nn.Linear(8, 16),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), head=nn.Linear(16, 4),
    )  # fmt: skip


def window_attention() -> Made:
    """Swin: windows by reshapes, rolled, with a bias for each distance."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = torch.roll(s.embed(x).permute(0, 2, 3, 1), (-1, -1), (1, 2))
        n, h, w, c = y.shape
        z = y.view(n, 3, 2, 3, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = s.qkv(s.norm(z)).reshape(-1, 4, 3, 2, 8).permute(2, 0, 3, 1, 4)
        bias = s.table[s.places.view(-1)].view(4, 4, -1).permute(2, 0, 1)
        z = z + s.out((((q @ k.mT) * 8**-0.5 + bias).softmax(-1) @ v).transpose(1, 2).reshape(-1, 4, 16))
        y = z.view(n, 3, 3, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        merged = torch.cat([y[:, 0::2, 0::2], y[:, 1::2, 0::2], y[:, 0::2, 1::2], y[:, 1::2, 1::2]], -1)
        return s.head(s.reduce(s.merge(merged)).mean((1, 2)))

    model, inputs = image(
        forward, embed=nn.Conv2d(3, 16, 2, 2), norm=nn.LayerNorm(16), qkv=nn.Linear(16, 48), out=nn.Linear(16, 16),
        merge=nn.LayerNorm(64), reduce=nn.Linear(64, 24, bias=False), head=nn.Linear(24, 4),
    )  # fmt: skip
    model.table = nn.Parameter(torch.randn(9, 2))
    model.register_buffer("places", torch.arange(16).reshape(4, 4) % 9)
    return model, inputs


def recurrent(kind: str, layers: int, both: bool, projected: int = 0) -> Made:
    options = {"proj_size": projected} if projected else {}
    cell = getattr(nn, kind)(8, 12, layers, batch_first=True, bidirectional=both, **options)
    width = (projected or 12) * (2 if both else 1)
    return sequence(
        lambda s, x: s.head(F.relu(s.norm(s.cell(s.embed(x))[0]))[:, -1]), embed=nn.Linear(8, 8), cell=cell,
        norm=nn.LayerNorm(width), head=nn.Linear(width, 4),
    )  # fmt: skip


def encoder_and_decoder() -> Made:
    """The last state of one recurrent layer begins the next."""
    return sequence(
        lambda s, x: s.head(s.decode(s.embed(x), s.encode(s.embed(x))[1])[0]), embed=nn.Linear(8, 8),
        encode=nn.GRU(8, 12, batch_first=True), decode=nn.GRU(8, 12, batch_first=True), head=nn.Linear(12, 4),
    )  # fmt: skip


def volumes() -> Made:
    model = Written(
        lambda s, x: s.head(F.relu(s.b(F.max_pool3d(F.relu(s.norm(s.a(x))), 2))).mean((2, 3, 4))),
        a=nn.Conv3d(1, 8, 3), norm=nn.BatchNorm3d(8), b=nn.Conv3d(8, 8, 2), head=nn.Linear(8, 3),
    )  # fmt: skip
    return model, (torch.randn(2, 1, 8, 8, 8),)


def sounds() -> Made:
    """1-D: dilated, depthwise, a gate, transposed."""
    model = Written(
        lambda s, x: s.up(s.c(F.glu(s.b(F.relu(s.a(x))), 1))).mean(2),
        a=nn.Conv1d(2, 8, 5, dilation=2), b=nn.Conv1d(8, 16, 3, padding=1), c=nn.Conv1d(8, 8, 3, groups=8),
        up=nn.ConvTranspose1d(8, 4, 4, 2, groups=2),
    )  # fmt: skip
    return model, (torch.randn(2, 2, 40),)


def letters() -> Made:
    """einsum, baddbmm and a product with a stored matrix."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = torch.einsum("ntc,dc->ntd", s.a(x), s.matrix)
        z = torch.baddbmm(s.shift, y, s.b(y).transpose(1, 2)).softmax(-1)
        return s.head((z @ y @ s.square).mean(1))

    model, inputs = sequence(forward, a=nn.Linear(8, 12), b=nn.Linear(10, 10), head=nn.Linear(6, 3))
    model.matrix, model.shift = nn.Parameter(torch.randn(10, 12)), nn.Parameter(torch.randn(1, 6, 6))
    model.square = nn.Parameter(torch.randn(10, 6))
    return model, inputs


def tokens() -> Made:
    """A learned token in front, learned places, a dimension repeated."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = torch.cat([s.token.expand(x.shape[0], -1, -1), s.embed(x)], 1) + s.places
        y = s.b(torch.relu(s.a(y)).repeat(1, 1, 2))
        return s.head(y[:, 0])

    model, inputs = sequence(
        forward, embed=nn.Linear(8, 12), a=nn.Linear(12, 10), b=nn.Linear(20, 8), head=nn.Linear(8, 3)
    )
    model.token, model.places = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 7, 12))
    return model, inputs


def permuted_channels() -> Made:
    """A stored order of channels, channels backwards, one of two."""
    model, inputs = image(
        lambda s, x: s.head(s.b(s.a(x).index_select(1, s.order)).flip(1)[:, ::2].mean((2, 3))),
        a=block(3, 12), b=block(12, 12), head=nn.Linear(6, 3),
    )  # fmt: skip
    model.register_buffer("order", torch.randperm(12, generator=torch.Generator().manual_seed(3)))
    return model, inputs


def selective_kernels() -> Made:
    """SKNet: two branches stacked, weighed by a softmax over the branches."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = s.stem(x)
        both = torch.stack([s.a(y), s.b(y)], 1)
        weights = s.choose(F.relu(s.squeeze(both.sum(1).mean((2, 3))))).view(-1, 2, 12, 1, 1).softmax(1)
        return s.head((both * weights).sum(1).mean((2, 3)))

    return image(
        forward, stem=block(3, 8), a=block(8, 12), b=block(8, 12, 5), squeeze=nn.Linear(12, 6),
        choose=nn.Linear(6, 24), head=nn.Linear(12, 4),
    )  # fmt: skip


def mixed_axes() -> Made:
    """MLP-Mixer: a layer over places between layers over channels."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = s.embed(x).flatten(2).transpose(1, 2)
        y = y + s.back(F.gelu(s.mix(y.mT))).mT
        return s.head(s.narrow(F.gelu(s.wide(s.norm(y)))).mean(1))

    return image(
        forward, embed=nn.Conv2d(3, 12, 3, 3), mix=nn.Linear(16, 24), back=nn.Linear(24, 16), norm=nn.LayerNorm(12),
        wide=nn.Linear(12, 32), narrow=nn.Linear(32, 12), head=nn.Linear(12, 3),
    )  # fmt: skip


def reduced_channels() -> Made:
    """CBAM: a gate of the mean and the largest over channels."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        y = s.stem(x)
        gate = s.gate(torch.cat([y.mean(1, True), y.amax(1, True)], 1))
        return s.head((y * torch.sigmoid(gate)).mean((2, 3)))

    return image(
        forward, stem=nn.Sequential(block(3, 12), block(12, 12)), gate=nn.Conv2d(2, 1, 3, padding=1),
        head=nn.Linear(12, 4),
    )  # fmt: skip


PATTERNS: dict[str, Callable[[], Made]] = {
    "shuffle net v2": shuffle_net, "shuffled groups": shuffled_groups, "res2 net": res2_net, "dense net": dense_net,
    "inception": inception, "efficient net": efficient_net, "reg net": reg_net, "u-net": u_net, "detector": detector,
    "conv next": conv_next, "shortcut of zeros": shortcut_of_zeros, "super resolution": super_resolution,
    "norms": norms, "attention by hand": attention_by_hand, "grouped queries": grouped_queries,
    "repeated keys": repeated_keys, "encoder layer": encoder_layer, "window attention": window_attention,
    "gru": lambda: recurrent("GRU", 2, True), "lstm": lambda: recurrent("LSTM", 2, False),
    "projected lstm": lambda: recurrent("LSTM", 2, True, 6), "rnn": lambda: recurrent("RNN", 1, False),
    "encoder and decoder": encoder_and_decoder, "volumes": volumes, "sounds": sounds, "letters": letters,
    "tokens": tokens, "permuted channels": permuted_channels, "selective kernels": selective_kernels,
    "mixed axes": mixed_axes, "reduced channels": reduced_channels,
}  # fmt: skip


def made(name: str) -> Made:
    """The net of that name with weights that no symmetry hides, in inference, and inputs."""
    torch.manual_seed(0)
    model, inputs = PATTERNS[name]()
    for layer in model.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d)):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
        if isinstance(getattr(layer, "weight", None), nn.Parameter) and layer.weight.dim() == 1:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            if getattr(layer, "bias", None) is not None:
                nn.init.normal_(layer.bias, std=0.3)
    return model.eval(), inputs
