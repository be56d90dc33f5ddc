"""The stages of dvc.yaml, one file each: fetch, prepare, race, train, evaluate, compare, look, plot.

They are the verbs, run as `python -m stages.<name>`; the nouns that they use are the package `frostline`.
"""
