"""The web page of `pose_transfer_app.py`."""
