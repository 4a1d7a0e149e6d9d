"""Training and recovery: a loop that works on any Graph, and the accuracy that everything else is judged by."""

from edgekit.train.distributed import leads
from edgekit.train.loop import train
from edgekit.train.metrics import accuracy, predict
from edgekit.train.report import TrainReport, TrainResult

__all__ = ["TrainReport", "TrainResult", "accuracy", "leads", "predict", "train"]
