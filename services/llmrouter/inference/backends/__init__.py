"""What runs a loaded model. `base.py` is the interface; one file per engine."""
