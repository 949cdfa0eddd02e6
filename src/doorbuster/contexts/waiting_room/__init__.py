"""Waiting room: a fair place for everybody, and a signed admission when one's turn has come."""
