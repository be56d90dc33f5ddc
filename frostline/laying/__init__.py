"""Laying: what makes a folder one in which studies run, for `frostline new`, and for make the page of `dvc plots`.

In go the files of the project that the wheel brings along; out comes a folder whose stages are the installed package's.

pipeline: dvc.yaml there, and code.yaml, which stands for the package's code
plots_page: the page that `dvc plots` draws on, with Vega inside
studies: the ready studies, each as a whole params.yaml
study: the folder, in a repository of git and dvc
"""
