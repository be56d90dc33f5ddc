"""Report: a study's tables as figures and as one page that needs no network.

In go the tables of reports/ and what the stage look found; out come reports/figures and reports/report.html. The
stage plot needs the whole of it.

comparison: the tables of a study, read
points: what a picture shows of each plan over a cost, as a difference or as an accuracy
tradeoff: scores over a cost, drawn
figures: learning curves and confusions, drawn
lessons: figures that a study earns by its plans: losses, shifts, sizes
descriptions: figures in words, for those who do not see them
embedding: figures as parts of the page, whose points can be pointed at
page: the page, filled in from the study
report.html: the page's template
report.css: the style of the page
"""
