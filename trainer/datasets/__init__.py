"""Data sets on disk: one reader for each layout, clips with frames and ground truth for all."""

from trainer.datasets.clip import Clip, Dataset
from trainer.datasets.layouts import layout_names, open_dataset, open_normal

__all__ = ["Clip", "Dataset", "layout_names", "open_dataset", "open_normal"]
