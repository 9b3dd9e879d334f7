"""The command line. A command's work is imported when it runs; `main` starts without any of it."""
