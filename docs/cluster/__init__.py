"""How a study grows on a cluster, on paper and simulated."""
