"""``python -m advtransfer``: the same as the command ``advtransfer``."""

from advtransfer.cli import main

if __name__ == "__main__":
    main(prog_name="advtransfer")
