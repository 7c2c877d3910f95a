/* The options in front of a key that sshd reads, see sshd(8), AUTHORIZED_KEYS FILE FORMAT. */
#ifndef KEY_OPTIONS_H
#define KEY_OPTIONS_H

#include <stdbool.h>

/*
 * Whether these are options of the form in tailscale_wire.h, all of which take away. Whatever else sshd knows
 * (environment=, cert-authority, a line end and another key) is none.
 */
bool key_options_are_valid(const char *options);

#endif
