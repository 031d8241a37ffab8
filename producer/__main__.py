"""`python -m producer` has the producer's commands, with or without the rest of Answermill."""

import sys

from core.console import run
from producer.cli.batches import app

if __name__ == "__main__":
    sys.exit(run(app))
