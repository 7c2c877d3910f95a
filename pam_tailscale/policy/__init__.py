"""The tailnet's SSH policy: records, evaluation and the decision built on them. Pure: no socket, file, clock or log."""
