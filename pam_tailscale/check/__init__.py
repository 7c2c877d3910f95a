"""Check mode: the person has authenticated recently.

Pure: flow and desk (what is done when), evidence, idtoken, keyset, judge and passes (what counts), noise, streams and
delegate (what the control plane says). With I/O: the provider control with ts2021 and dial; the provider oidc with
device, jwks and https; the stores local with sqlitefile, and shared with redis_client and redis_socket.
"""
