"""Backbones: pretrained classifiers cut into named parts, frozen by a plan, and proven frozen.

In go a backbone's name, weights and a plan; out comes a network of which some parts learn, and after training the
proof that the others did not move. Race, train and evaluate need the whole of it, look all but `inference`.

registry: a backbone by its name, its parts joined
cuts: each architecture cut into parts
small_networks: networks small enough to be written out here, and modules that cuts need
weights: published tensors, or one's own, read without running code and checked
freezing: what a plan lets learn, and where its frozen prefix ends
audit: whether what is frozen is what was loaded, tensor by tensor
precision: the number format in which a backbone computes
inference: frozen layers folded, inputs of a suffix in batches, and its logits
runs: what training kept of a run, written and read back
"""
