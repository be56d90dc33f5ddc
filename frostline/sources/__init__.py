"""Sources: where images and their classes come from.

In goes `data` of params.yaml; out come examples (encoded image, class, stratum, split) in a fixed order, and the facts
of their origin. The stage fetch needs the whole of it, and no other stage any of it.

base: what every source gives: examples and facts
local: packages with images in them, and folders of images
folders: which folder names a class, which a split, and what is left alone
table: a CSV or Parquet file that names images, their classes, and where known groups and splits
hub: data sets of the Hugging Face hub: one revision, whole and verified, its troubles in one line
parquet: columns of a hub's Parquet files, and the splits that they stand for
"""
