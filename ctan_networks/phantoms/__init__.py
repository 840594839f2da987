# STAND-IN written by the lead to test the integration: OVERWRITE THIS FILE with the real one.
def is_phantom(items): return False
def openkbp_cohort(root): raise RuntimeError("not yet")
