"""Params: params.yaml, typed and checked: what is unknown, missing, misspelt or out of range is refused by name.

In goes a file that people write; out come sections of plain values. Every stage reads them.

schema: the sections, their types and bounds
loading: a file as sections, and what must hold between them
"""
