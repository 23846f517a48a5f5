"""`python -m tests.testbed up|down|status`."""

import sys

from tests.testbed.cli import main

sys.exit(main())
