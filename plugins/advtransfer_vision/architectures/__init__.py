"""The networks that can be trained here, one module each, as ordered blocks and a head."""
