"""Running: how the runs of a study are trained, each for itself, in a race, or all beside each other on a cluster.

In go the prepared images and the study, out come its runs' folders.

trainer: trains a run's fits phase by phase, and chooses its learning rates
together: all runs of a study at once, their fits on a cluster
racing: the worker that trains a run in a race, and which rates go on
on_cluster: such a worker whose fits are trained on a cluster
rounds: what a race trains next, which rates are dropped, and which plans stop
"""
