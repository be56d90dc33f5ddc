"""Report: a study's tables as figures and as one page that needs no network.

In go the tables of reports/ and what the stage look found; out come reports/figures and reports/report.html. The
stage plot needs the whole of it.

comparison: the tables of a study, read
points: what stands where when accuracy is drawn over a cost
scatter: accuracy over a cost as the page shows it
tips: what a point tells when it is pointed at
figures: the figures, drawn by matplotlib
lessons: figures that a study earns by its plans: losses, shifts, sizes
descriptions: figures in words, for those who do not see them
page: the page, filled in from the study
report.html: the page's template
report.css: the style of the page
scatter.svg: the template of accuracy over a cost
"""
