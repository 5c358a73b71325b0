"""The Python interface: what the commands do, as functions whose results notebooks show as tables.

`advtransfer` itself offers the names. This package imports nothing, so that commands stay quick.
"""
