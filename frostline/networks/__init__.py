"""Networks: any classifier by its name, with its weights, and its computation cut into blocks by its data flow.

In go names and weights, as libraries, hubs and people have them; out come networks, and the segments of which a
backbone is made. Race, train, evaluate and look need it whole.

catalog: each network by its name: how it is made and loaded, and what images its weights were trained on
timm_models: those of timm and of the hub, by timm's own API
own_networks: those that a function in a file of one's own makes
small_networks: networks small enough to be written out here
weights: published tensors, or one's own, read without running code and checked
tracing: a network's forward as a graph of calls
grouping: which of its tensors belong together, and how deep they lie
cuts: its calls put into blocks, and blocks into parts, so that data flow from each to later ones alone
segments: blocks as modules, and what crosses from one to the next
"""
