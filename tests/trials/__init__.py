"""Trials: kills and mutated files by the hundred, which `make trials` runs; `make test` runs a few of most."""
