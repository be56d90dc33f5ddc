"""Data: prepared images as arrays, and what training and tests see of them.

In go the arrays and tables that prepare wrote; out come images x 3 x side x side, the rows of a replicate's splits, and
views of images. Race, train, evaluate and look read them.

images: the prepared arrays, read back
augmentation: views of training images, and shifts of test images
"""
