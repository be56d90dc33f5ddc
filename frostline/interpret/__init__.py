"""Interpretation: what a trained network looks for, finds and goes by, and how far it moved.

In go a run, and images on which it is sure, unsure or wrong; out come pictures, captions and numbers. The stage look
needs the whole of it.

gradcam: activation maps, and Grad-CAM of a class
weight_changes: the first filters before and after training, and how far each part moved
inspection: the images that tell most, and what the network makes of them
captions: what the pictures say, in words
figures: the pictures
panels: parts of pictures: tiles, scales, headlines
output: pictures and numbers written, and posted to TensorBoard
"""
