"""`python -m diffpc.cli`."""

import sys

from diffpc.cli import main

sys.exit(main())
