"""What a recipe may say: every section, its keys, their types, defaults and limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from edgekit.section import (
    Count,
    Fraction,
    Multiple,
    NotNegative,
    Positive,
    Section,
    Share,
    Target,
    Text,
    Texts,
)  # fmt: skip


class UserObject(Section):
    """A function or class of the user's own: ``object`` in the Python ``file``, called with ``args``.

    A relative path starts at the recipe's folder. The file is run.
    """

    file: Text
    object: Text
    args: dict[str, JsonValue] = Field(default_factory=dict)


class VariedConfig(Section):
    """A second held-out set: the test items again, shifted and with noise. Images only.

    Attributes:
        items: how many.
        shift: largest shift in pixels along each axis, either way.
        noise: standard deviation of Gaussian noise, in units of one level.
        levels: grey levels; one level is 1 / levels of the range [0, 1].
    """

    items: Count = 5400
    shift: Annotated[int, Field(ge=0, le=64)] = 1
    noise: NotNegative = 1.0
    levels: Count = 16


class CsvConfig(Section):
    """A table with a header line.

    Columns of numbers are standardised with the training items' mean and deviation, columns of words become one value
    0 or 1 for each word (one-hot); both happen in the exported graph, which reads one float32 [N, columns] of raw
    numbers, words as their place in the sorted list of words.

    Attributes:
        path: the file; left out where ``data.generate`` makes it (as ``table.csv``).
        target: the column to predict; several for a regression with several values.
        drop: columns that the model must not see.
        delimiter: between the values of a line.
        missing: what an empty cell is: an error, a line to drop, or the training items' median (in the graph).
        scale: ``standard`` (mean 0, deviation 1), ``minmax`` (0 to 1) or ``none``.
        group: a column whose equal values never stand on both sides of a split, such as a patient; not a feature.
    """

    path: Text | None = None
    target: Text | Texts
    drop: Texts = ()
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    missing: Literal["refuse", "drop", "median"] = "refuse"
    scale: Literal["standard", "minmax", "none"] = "standard"
    group: Text | None = None


class ImagesConfig(Section):
    """A folder of images, ``path/CLASS/name.png``, or ``path/train/CLASS/...`` and ``path/test/CLASS/...``.

    The graph reads uint8 [N, channels, height, width]; scaling to [0, 1], mean and deviation are part of it.

    Attributes:
        path: the folder; left out where ``data.generate`` makes it.
        size: height and width to which every image is resized.
        channels: 1 (grey) or 3 (RGB).
        mean, std: of each channel in [0, 1]; of the training items by default.
    """

    path: Text | None = None
    size: Annotated[tuple[Count, Count], Field(strict=False)]
    channels: Literal[1, 3] = 3
    mean: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    std: Annotated[tuple[Positive, ...], Field(strict=False)] | None = None


class WavConfig(Section):
    """A folder of sounds, ``path/CLASS/name.wav``, or with ``train`` and ``test`` above the classes; PCM.

    The graph reads float32 [N, rate * seconds] from -1 to 1; the features are part of it.

    Attributes:
        path: the folder; left out where ``data.generate`` makes it.
        rate: samples a second; files of another rate are refused.
        seconds: length of an item; shorter sounds are padded with silence, longer ones cut.
        features: ``logmel``, ``mfcc``, or the samples themselves (``none``).
        bands: of the mel filter bank.
        coefficients: of the MFCC.
        window_ms, hop_ms: length and distance of the windows.
        group_separator: what stands in a file's name before it names a group (a speaker) whose items never stand on
            both sides of a split, as ``_`` in ``anna_01.wav``.
    """

    path: Text | None = None
    rate: Count = 16000
    seconds: Positive = 1.0
    features: Literal["logmel", "mfcc", "none"] = "logmel"
    bands: Count = 40
    coefficients: Count = 10
    window_ms: Positive = 30.0
    hop_ms: Positive = 20.0
    group_separator: Text | None = None


class TextConfig(Section):
    """Lines of text, a file for each class: ``path/CLASS.txt``, or with ``train`` and ``test`` above; UTF-8.

    The graph reads int64 [N, length]: bytes (0 to 255) or word pieces, padded at the end.

    Attributes:
        path: the folder; left out where ``data.generate`` makes it.
        tokens: ``bytes``, or ``pieces`` (WordPiece, learned from the training items; needs ``tokenizers``).
        length: tokens of an item; longer lines are cut.
        vocabulary: how many word pieces.
    """

    path: Text | None = None
    tokens: Literal["bytes", "pieces"] = "bytes"
    length: Count = 128
    vocabulary: Annotated[int, Field(ge=300)] = 2048


class DataConfig(Section):
    """Where the data comes from: exactly one of ``source``, ``csv``, ``images``, ``wav``, ``text`` and ``dataset``.

    Attributes:
        source: ``digits`` (scikit-learn's bundled handwriting), or an ``.npz`` file with ``x`` and ``y``; a relative
            path starts at the recipe file.
        csv, images, wav, text: a file or folder of that kind.
        dataset: a function of the user's file; what it may return is in ``edgekit.data.own``.
        generate: a function that fills an empty folder, the ``path`` of ``csv``, ``images``, ``wav`` or ``text``; kept
            in the user's cache and made anew when its file or arguments change.
        split: ``random`` (every class keeps its share), or ``last``: the end is held out, for series.
        test_fraction: share of the items held out for the test, where the source does not hold its own.
        validation_fraction: share of the training items that early stopping watches.
        varied: a second held-out set, or none.
    """

    source: Text | None = None
    csv: CsvConfig | None = None
    images: ImagesConfig | None = None
    wav: WavConfig | None = None
    text: TextConfig | None = None
    dataset: UserObject | None = None
    generate: UserObject | None = None
    split: Literal["random", "last"] = "random"
    test_fraction: Fraction = 0.3
    validation_fraction: Share = 0.0
    varied: VariedConfig | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> DataConfig:
        readers = {"csv": self.csv, "images": self.images, "wav": self.wav, "text": self.text}
        given = [name for name, value in {"source": self.source, **readers, "dataset": self.dataset}.items() if value]
        if len(given) != 1:
            raise ValueError(f"give exactly one of source, {', '.join(readers)} and dataset (here: {given or 'none'})")
        read = readers.get(given[0])
        if self.generate is not None and (read is None or read.path is not None):
            raise ValueError(f"`generate` makes the `path` of {', '.join(readers)}: leave that path out")
        if read is not None and self.generate is None and read.path is None:
            raise ValueError(f"`{given[0]}.path` is missing")
        return self


class ModelConfig(Section):
    """The model: one that ships (``name``), or the user's own (``file`` and ``object``), called with ``args``.

    Attributes:
        weights: a ``.safetensors`` file with the values of all its parameters and buffers to begin with.
    """

    name: str | None = None
    file: str | None = None
    object: str | None = None
    args: dict[str, JsonValue] = Field(default_factory=dict)
    weights: Text | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelConfig:
        if (self.name is None) == (self.file is None) or (self.file is None) != (self.object is None):
            raise ValueError("give either `name`, or `file` together with `object`")
        return self


TaskKind = Literal[
    "classification", "regression", "segmentation", "detection", "sequence_labelling", "reconstruction", "custom"
]


class TaskConfig(Section):
    """What the outputs mean, and by what they are judged. Shapes are in ``edgekit.train.objectives``.

    Attributes:
        kind: of the task.
        loss: the name of a loss that suits the kind, or the user's own, called with ``(output, target)``: tensors, or
            tuples of them where there are several; the kind's first loss by default.
        metrics: names, or the user's own, called alike on the whole held-out set; the first one decides gates. The
            kind's own by default.
    """

    kind: TaskKind = "classification"
    loss: Text | UserObject | None = None
    metrics: Annotated[tuple[Text | UserObject, ...], Field(strict=False)] = ()


class DistillConfig(Section):
    """Recovery that also learns from the model before compression, the teacher (Hinton et al. 2015).

    Attributes:
        weight: of the teacher in the loss, from 0 (none) to 1 (nothing but the teacher).
        temperature: that softens the logits of a classifier; other tasks compare outputs by mean squared error.
        features: names of nodes whose values the student matches too (Romero et al. 2015), where the shapes agree.
        feature_weight: of the sum of their mean squared errors.
    """

    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Positive = 4.0
    features: Texts = ()
    feature_weight: NotNegative = 1.0


class SparsityConfig(Section):
    """A penalty on whole channels, so that pruning finds some that do little.

    Attributes:
        kind: ``group_lasso``, the norm of all weights of a channel together, or ``batch_norm``, the scale that batch
            norm gives it.
        weight: of the penalty beside the loss.
    """

    kind: Literal["group_lasso", "batch_norm"]
    weight: Positive = 1e-4


class EarlyStopConfig(Section):
    """End training when the loss on the validation items has not fallen for ``patience`` epochs; keep the best."""

    patience: Count = 10
    min_change: NotNegative = 0.0


class TrainConfig(Section):
    """A training or fine-tuning run; ``schedule`` and ``augment`` act on every batch.

    Attributes:
        epochs: passes over the training items.
        learning_rate: at its largest.
        batch_size: items of a step, over all processes.
        optimizer: ``sgd`` (with ``momentum``), ``adam`` or ``adamw``.
        momentum: of ``sgd``.
        weight_decay: L2 for ``sgd`` and ``adam``, decoupled for ``adamw``.
        schedule: ``constant``, ``cosine`` or ``linear`` to 0, or ``step``: a tenth at half and at three quarters.
        warmup_epochs: in which the rate rises from 0.
        clip_norm: largest norm of the gradient of all parameters; none by default.
        early_stop: ends the training early; needs ``data.validation_fraction``.
        precision: of the forward and backward pass; weights stay float32.
        augment: shift and noise, for images and sounds.
        sparsity: a penalty on whole channels, for pruning afterwards.
    """

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    batch_size: Count = 64
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    warmup_epochs: NotNegative = 0.0
    clip_norm: Positive | None = None
    early_stop: EarlyStopConfig | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    augment: bool = False
    sparsity: SparsityConfig | None = None


class RecoverConfig(TrainConfig):
    """The fine-tuning after pruning; with ``distill`` the unpruned model teaches."""

    distill: DistillConfig | None = None


class QatConfig(RecoverConfig):
    """The training of a fake-quantised graph; with ``distill`` the float graph teaches.

    Attributes:
        learn_scale: scales are trained with the weights (LSQ, Esser et al. 2020), but those that additions, softmax and
            recurrent layers need at exact ratios; else all stay as calibrated.
    """

    learn_scale: bool = False

    @model_validator(mode="after")
    def _nothing_sparse(self) -> QatConfig:
        if self.sparsity is not None:
            raise ValueError("`sparsity` prepares for pruning, which comes before: set it in `train` or `recover`")
        return self


class PruneConfig(Section):
    """Structured pruning. One of ``ratio``, ``ratios``, ``target_macs`` and ``target_parameters`` says how much goes.

    Attributes:
        ratio: share of channels to remove.
        ratios: the same by the name of a layer's weight, in which ``*`` and ``?`` match; other layers stay.
        target_macs, target_parameters: share of the multiply-accumulates or parameters to keep.
        importance: score of a channel; ``taylor``, ``hessian`` and ``activation`` look at training data.
        reduce: what a channel's scores in several layers become.
        normalise: what the scores of a layer are divided by.
        scope: ``local`` removes the ratio from every layer, ``global`` the least important of the whole net,
            ``isomorphic`` of layers of the same kind.
        blocks: heads and groups of convolutions go ``whole``, or become narrower (``within``), or ``both``.
        round_to: channel counts stay multiples of this, or of what a runtime or device of ``targets.toml`` wants.
        exclude: names of nodes that keep their channels; ``*`` and ``?`` match.
        keep_residual: keep the channels between residual blocks and cut inside the blocks.
        steps: of about equal shares, with ``recover`` after each.
        recover: the fine-tuning that follows.
    """

    ratio: Fraction | None = None
    ratios: dict[Text, Fraction] | None = None
    target_macs: Fraction | None = None
    target_parameters: Fraction | None = None
    importance: Literal["l1", "l2", "batch_norm", "fpgm", "lamp", "taylor", "hessian", "activation", "random"] = "l2"
    reduce: Literal["mean", "max", "sum"] = "mean"
    normalise: Literal["mean", "max", "sum", "none"] = "mean"
    scope: Literal["local", "global", "isomorphic"] = "local"
    blocks: Literal["whole", "within", "both"] = "whole"
    round_to: Multiple = 1
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = ()
    keep_residual: bool = False
    steps: Count = 1
    recover: RecoverConfig | None = None

    @model_validator(mode="after")
    def _one_goal(self) -> PruneConfig:
        goals = (self.ratio, self.ratios, self.target_macs, self.target_parameters)
        if sum(goal is not None for goal in goals) != 1:
            raise ValueError("give one of `ratio`, `ratios`, `target_macs` and `target_parameters`")
        return self


class QuantConfig(Section):
    """INT8 after training.

    Attributes:
        observer: how an activation's range is taken from the calibration data: the largest magnitude, the average of
            the items' largest, a percentile, the least loss of information, the least squared error.
        percentile: of the magnitudes, for ``observer: percentile``.
        momentum: weight of each further item, for ``observer: moving_average``.
        per_channel: one weight scale per output channel, or one per tensor.
        calibration_samples: how many training items calibrate.
        allow_few: go on with fewer than 32 of them.
        preset: ``plain``, or ``balanced``: rescaled channels, corrected biases and, where none is named, an observer,
            as the net's family wants them.
        equalize, smooth, bias_correction: yes or no, whatever the preset says.
        smooth_alpha: how much of the spread of activations goes into the weights.
        keep_float: nodes, or modules with all that is in them, to leave in float.
        strict: refuse an operator that has no integer form instead of leaving it in float.
    """

    observer: Literal["minmax", "moving_average", "percentile", "entropy", "mse"] = "minmax"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
    per_channel: bool = True
    calibration_samples: Count = 256
    allow_few: bool = False
    preset: Literal["plain", "balanced"] = "plain"
    equalize: bool | None = None
    smooth: bool | None = None
    smooth_alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    bias_correction: bool | None = None
    keep_float: tuple[str, ...] = Field(default=(), strict=False)
    strict: bool = False


class ExportConfig(Section):
    """The files to write, and the largest difference at which a float file still counts as equal to its graph."""

    targets: Annotated[tuple[Target, ...], Field(strict=False, min_length=1)] = ("onnxruntime",)
    tolerance: Positive = 1e-4


class BenchConfig(Section):
    """How latency is measured.

    Attributes:
        threads: of the runtime.
        warmup, warmup_seconds: runs before the first that counts, at least so many and for so long.
        min_samples, min_seconds: runs that count, the same.
    """

    threads: Count = 1
    warmup: Annotated[int, Field(ge=0)] = 20
    warmup_seconds: NotNegative = 0.5
    min_samples: Count = 100
    min_seconds: NotNegative = 3.0


class GateConfig(Section):
    """Bounds that fail the run (exit 5) when a result misses them; ``null`` switches one off.

    Attributes:
        max_drop: how much worse the task's first metric may get by compression, on every held-out set, against the
            trained, unpruned float net: in points (hundredths) for a share such as accuracy, in percent of the float
            net's value for an error such as ``mse``.
        at_least: smallest values of metrics of the trained float net, by name, such as ``{accuracy: 0.97}``.
        at_most: largest values, such as ``{mse: 0.01}``.
        min_macs_ratio: multiply-accumulates before pruning over those after.
    """

    max_drop: NotNegative | None = 1.0
    at_least: dict[str, float] = Field(default_factory=dict)
    at_most: dict[str, float] = Field(default_factory=dict)
    min_macs_ratio: Positive | None = None


class Recipe(Section):
    """One run, from data to report.

    ``quantize: null`` leaves the model in float, for operators that have no integer form. ``qat`` trains what
    ``quantize`` made, with its rounding in the forward pass.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    threads: Count = 2
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    data: DataConfig
    task: TaskConfig = TaskConfig()
    model: ModelConfig
    train: TrainConfig
    prune: PruneConfig | None = None
    quantize: QuantConfig | None = QuantConfig()
    qat: QatConfig | None = None
    export: ExportConfig = ExportConfig()
    bench: BenchConfig = BenchConfig()
    gates: GateConfig = GateConfig()

    @model_validator(mode="after")
    def _someone_to_watch(self) -> Recipe:
        recover = self.prune.recover if self.prune else None
        stops = [section for section in (self.train, recover, self.qat) if section is not None and section.early_stop]
        if stops and not self.data.validation_fraction:
            raise ValueError("`early_stop` watches validation items: set `data.validation_fraction`")
        return self

    @model_validator(mode="after")
    def _something_to_train(self) -> Recipe:
        if self.qat is not None and self.quantize is None:
            raise ValueError("`qat` trains what `quantize` makes: drop `quantize: null`, or `qat`")
        return self
