"""Frostline: how deep to unfreeze a pretrained classifier, what each depth costs, and how sure that is.

The nouns; the verbs, which use them, are the stages of dvc.yaml (`stages/`), and no module here imports one. A room
(a folder) is what a stage needs whole, so that dvc.yaml can name it. In go parameters and images; out come tables,
pictures and a report. What lies here beside the rooms is shared by several of them:

constants: the names that params.yaml, folders, tables and pictures share
errors: errors of someone's input, in one grammar, with which a command ends
files: whole files and folders, JSON, YAML, CSV, SHA-256, and where the project lies
downloads: servers asked three times, and what they send verified
hardware: the device, its name, number formats, determinism and peak memory
units: numbers as people read them: 2.67 M, 41.3 TFLOP, points, per cent
plotting: palette, style and letters of all pictures, and how they are saved
"""
