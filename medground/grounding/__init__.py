"""Pretrained eyes: a detector that finds named regions, and a segmenter that tightens a box around what is in it."""
