"""Backbones: pretrained classifiers cut into named parts, frozen by a plan, and proven frozen.

In go a backbone's name, weights and a plan; out comes a network of which some parts learn, and after training the
proof that the others did not move. Race, train and evaluate need the whole of it, look all but
`folding` and `inference`.

registry: a backbone by its name, its parts joined
adapters: low-rank matrices beside frozen layers, and heads on earlier parts
freezing: what a plan lets learn, and where its frozen prefix ends
audit: whether what is frozen is what was loaded, tensor by tensor
precision: the number format in which a backbone computes
folding: a frozen prefix as it runs, its norms folded into convolutions
inference: inputs of a suffix in batches, and its logits
runs: what training kept of a run, written and read back
"""
