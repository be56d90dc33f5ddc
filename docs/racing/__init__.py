"""What racing saves, measured."""
