"""The answer: which plan to take, how sure that is, and what it may give up.

In goes what every plan scores on images that it never saw, each of them once in a repeat; out comes one plan, with the
probability that it is within a margin of the best. Simulated studies of known truth hold it to that (docs/statistics).

outcomes: what all plans score in one metric, with groups of images left out or drawn again
estimator: means, and their covariance from the luck of images and the luck of training
decision: the advised plan, its probability, its expected shortfall, and the finest margin that can be told
stopping: which plans of a race stop, and how they count afterwards
after_choice: what the advised plan scores on images that had no say in the choice
"""
