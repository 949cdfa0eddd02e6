"""What is done to a request on its way, one file for each kind of plugin."""
