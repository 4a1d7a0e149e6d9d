"""Training and recovery: a loop that works on any Graph, and the accuracy that everything else is judged by."""

from edgekit.train.loop import TrainReport, TrainResult, train
from edgekit.train.metrics import accuracy, predict

__all__ = ["TrainReport", "TrainResult", "accuracy", "predict", "train"]
