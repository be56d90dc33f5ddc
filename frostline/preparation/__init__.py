"""Preparation: image files as arrays, what belongs together, and who is trained and tested on which.

In go examples as they were fetched; out come 8-bit images of one size, their groups, and the folds of each replicate.
The stage prepare needs the whole of it, and no other stage any of it.

decoding: an image file of whatever kind, made 8-bit RGB of one size
duplicates: the same pixels twice, and images that look nearly alike
grouping: which images belong together, as folders, names or the order of files tell
splits: folds that test every image once, and what validates beside them, groups kept whole
streaming: all images decoded once, batch after batch, from where a killed run stopped
"""
