"""What people run beside the stages: checks, tables, README, the page that dvc plots draws on."""
