"""Commands: what people run, as `frostline <command>` or by make: before a study, after it, and the study itself.

They read params.yaml in the folder where they are run, start dvc, and speak to people. No stage needs them.

__main__: `frostline`, and what its words mean
check: params.yaml and all that it names, before dvc clears anything
choose: a ready study as params.yaml, unless that would lose changes
estimate: what training will take at most, from steps measured here
look: inside any trained run, at what it makes of any image
plans: what each plan lets learn, part by part
show: the comparison on the terminal
survey: the images, as they were prepared, before anything is trained
"""
