/* The methods that sshd has counted before, in the words of its AuthenticationMethods. Pure. */
#ifndef METHODS_H
#define METHODS_H

#define EARLIER_SIZE 256

/*
 * Their names from SSH_AUTH_INFO_0, in order, separated by commas; empty when there are none. More than fit are not a login
 * we understand: the last name is then "unknown".
 */
void methods_name_earlier(const char *info, char out[EARLIER_SIZE]);

#endif
