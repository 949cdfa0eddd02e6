"""Five ways to deduct stock behind one port. In all of them the database's own conditions decide."""
