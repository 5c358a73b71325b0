"""Published results: submissions with a manifest and a Merkle root, boards, and their pages.

``docs/publishing.md`` describes the files.
"""
