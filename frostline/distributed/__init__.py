"""Distributed: one fit trained by several processes, each with its share of every batch and a device of its own.

In go a function that the others run and what it is given; out comes this process's place among them. What they compute
together is what one process would compute, to rounding. It knows of networks and batches, and of no study.

team: a process's place in a team, its share of a batch, and what all of them add up
normalization: BatchNorm over a whole batch of which each process has a share
processes: a team's other processes, from their start to their end
"""
