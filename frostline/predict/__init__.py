"""Predict: what a saved model makes of images, a row for each, for `python -m frostline.predict`.

In go the folder of a model and images, as a folder, a file or a list; out comes a table. It needs neither the study's
images, nor dvc, nor torch.

__main__: the command
listing: the images that are asked about, and their classes where folders tell them
output: rows as CSV or JSON lines, and what is said at the end
predicting: images decoded and run side by side, some at a time
"""
