/*
 * The TCP connections a process holds, read from its descriptors: the module looks at its own process, the key helper of
 * older OpenSSH at its parent's. Errors are negative errno values; none of our own descriptors stays open.
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <sys/types.h>

#include "connection.h"

enum found {
	FOUND_NOTHING, /* no TCP connection, or none whose two ends are inside the networks */
	FOUND_OURS,
	FOUND_UNREADABLE, /* it cannot be said */
};

/* Whether this process holds a TCP connection inside the networks. */
enum found sockets_look(const struct networks *networks);

/* The one connection inside the networks that the process `pid` holds. -ENOENT when it has none, -ENOTUNIQ for several. */
int sockets_of_process(pid_t pid, const struct networks *networks, struct connection *ret);

/*
 * This process's descriptor of that connection, -1 when it has none. It stays the process's own, to be looked at and not to
 * be closed. The functions below take it as it is, -1 too.
 */
int sockets_find(const struct connection *connection);

/*
 * Index of the interface by which that connection came in, 0 when it cannot be said. A route back through the tailnet does
 * not prove it: a host may answer by the interface a packet came from.
 */
unsigned int sockets_interface(int fd);

/* Turns Nagle's algorithm off. Nothing depends on it, so it cannot fail. */
void sockets_set_nodelay(int fd);

#endif
