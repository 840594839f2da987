# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

# The helpers beside this file belong to no package.
sys.path.insert(0, str(Path(__file__).parent))
