"""What changes the host: switching on and off, proving it, and looking for what is wrong.

Pure here is everything that decides (version, sshdconfig, effective, facts, preconditions, answers, arrangement, dropin,
pamfiles, changes); the rest reads and writes. Only the command line imports this folder; the agent never does.
"""
