"""The command line: one file a verb. Only here is anything printed, is the environment read, and does the program exit."""
