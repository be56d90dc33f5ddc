"""Frostline: how deep to unfreeze a pretrained classifier, what each depth costs, and how sure that is.

Verbs are stages of dvc.yaml (fetch, prepare, train, evaluate, compare, plot); nouns are the modules they share.
"""
