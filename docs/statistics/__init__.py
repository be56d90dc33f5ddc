"""Whether what a study says of its own certainty is true: simulated, drawn."""
