"""`python -m stack` is `answermill`."""

import sys

from stack.main import main

if __name__ == "__main__":
    sys.exit(main())
