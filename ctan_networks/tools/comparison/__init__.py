# SPDX-License-Identifier: Apache-2.0
"""The fair comparison of architectures and weightings: a plan of runs, their execution, and what they come to."""
