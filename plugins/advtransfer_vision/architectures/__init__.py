"""Networks to train, one module each, as ordered blocks and a head."""
