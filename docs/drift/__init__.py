"""What frozen BatchNorm does when it is not held: measured, drawn."""
