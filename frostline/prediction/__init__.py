"""Prediction: what a trained backbone makes of the images that its replicate tests.

In go prepared images and a backbone, out come tables of probabilities. A race asks it after each fold, evaluate of
every run.

predictions: a replicate's predictions of its test images, as they are and shifted
"""
