"""The factories of this plugin."""
