"""Statistics: what a study's plans score, which one to take, and how a report says it.

In go predictions and costs of runs; out come the tables of a study and the advice in words. Compare needs the whole
of it; evaluate needs `metrics` alone.

metrics: scores of predictions, and the sums over images that they are functions of
measured: what all plans score on the images that were tested, with intervals
significance: Holm's correction of p-values
advice: the plan to take, how sure that is, and what would make it surer
advice_text: advice in sentences, and the rule of thumb beside it
ablations: the same depth with and without views, and on shares of the images
tables: the tables that compare writes
methods: how the study was made and reckoned, in words
"""
