# SPDX-License-Identifier: Apache-2.0
"""Tables, figures and HTML pages of an evaluation, and the handlers that fill them."""
