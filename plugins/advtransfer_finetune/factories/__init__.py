"""What the plugin brings, by how much of a source it keeps. Light: torch is imported when one is built."""
