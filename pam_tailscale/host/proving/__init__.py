"""The proof that `enable` does before it changes anything: real logins on a private stage. Begins in proof.py."""
