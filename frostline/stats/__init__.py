"""Statistics: how accurate each plan is, how sure that is, and what to advise.

In go predictions and costs of runs; out come the tables of a study and the advice in words. Compare needs the whole
of it; evaluate needs `metrics` alone.

metrics: scores of predictions, and the tallies from which intervals are drawn again
intervals: intervals over images and seeds by the bootstrap, and their half widths
significance: exact tests of paired differences, and Holm's correction
advice: the plan to take, and what it would take to know better
advice_text: advice in sentences, and the rule of thumb beside it
ablations: the same depth with and without views, and on shares of the images
tables: the tables that compare writes
methods: how the study was made and reckoned, in words
"""
