"""What the plugin brings: maps, and the transfer that learns one. Light: torch is imported when one is built."""
