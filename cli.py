"""Starts the command line from a checkout: `python cli.py finetune data/`."""

from tl.commands.main import start

if __name__ == "__main__":
    start()
