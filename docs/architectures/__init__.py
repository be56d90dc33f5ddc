"""The architectures compared: what is known of them, how fast they are here, and what their features are worth."""
