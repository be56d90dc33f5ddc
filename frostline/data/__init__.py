"""Data: images as arrays, who is trained and tested on which, and what training sees of them.

In go examples; out come uint8 arrays, images x 3 x side x side, the splits of each replicate, and views of images.
Prepare writes them; race, train, evaluate and look read them.

decoding: an image file of whatever kind, made 8-bit RGB of one size
images: the prepared arrays, read back
splits: folds that test every image once, and what validates beside them, groups kept whole
augmentation: views of training images, and shifts of test images
"""
