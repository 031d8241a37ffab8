"""The producer's commands as `python -m producer`.

They work without the rest of Answermill. The command `answermill` includes them.
"""

import sys

from core.console import run
from producer.cli.batches import app

if __name__ == "__main__":
    sys.exit(run(app))
