/* What sshd tells of a login's methods in SSH_AUTH_INFO_0, in the words of its AuthenticationMethods. Pure. */
#ifndef METHODS_H
#define METHODS_H

#include "tailscale_wire.h"

#define EARLIER_SIZE 256

/*
 * Their names from SSH_AUTH_INFO_0, in order, separated by commas; empty when there are none. More than fit are not a login
 * we understand: the last name is then "unknown".
 */
void methods_name_earlier(const char *info, char out[EARLIER_SIZE]);

/*
 * The key of the last method, in base64: what a session was opened with. Empty where that was not publickey, or where the
 * key is longer than TSW_OFFERED_MAX.
 */
void methods_last_key(const char *info, char out[TSW_OFFERED_MAX + 1]);

#endif
