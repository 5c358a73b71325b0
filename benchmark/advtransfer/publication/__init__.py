"""Boards, and the publication and verification of bundles."""
