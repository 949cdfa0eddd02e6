"""What contexts say to one another: per context a Protocol, its messages, its events, its errors."""
