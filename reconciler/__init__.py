"""reconciler: desired state for other people's agents, with plans, proof and undo."""

import sys

# A plan never writes, not even a cache of compiled bytecode.
sys.dont_write_bytecode = True

__version__ = "0.1.0"
