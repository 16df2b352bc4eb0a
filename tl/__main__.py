"""Run the command line: `python -m tl finetune data/`."""

from tl.commands.main import start

if __name__ == "__main__":
    start()
