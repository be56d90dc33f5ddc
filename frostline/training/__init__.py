"""Training: plans, rates and replicates fitted to prepared images, the frozen prefix computed once.

In go prepared images, a backbone and a plan; out come a run's tensors, histories and costs. A fit follows from its
inputs alone, also where it was interrupted. Race and train need the whole of it.

job: what a run is asked to do, and where each of its fits lies by all that it follows from
grid: the fits of a phase, all fed by one prefix
workers: the processes in which fits are trained side by side
loop: one fit, epoch by epoch, and its board in TensorBoard
optimizer: AdamW with a rate for each part, and the heights of the rate over a run
prefix_cache: what frozen layers give of each image, kept in memory or on disk
checkpoints: a fit's state after each epoch, from which it goes on, and what it was at its end
results: what a run was and took, as its files tell it
costs: floating-point operations and saved bytes, counted
"""
