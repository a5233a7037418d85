"""The command line: what is typed, what is sent, what is printed, and the exit status."""
