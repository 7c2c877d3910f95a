/*
 * Addresses, lists of networks, and the one question the shims decide alone: is this connection the tailnet's?
 *
 * Pure: text and numbers in, numbers out. Sockets are in sockets.h.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The networks Tailscale gives its addresses from. */
#define NETWORKS_DEFAULT "100.64.0.0/10,fd7a:115c:a1e0::/48"
#define NETWORKS_MAX 16

#define PORT_TEXT_SIZE sizeof("65535")

/* An IPv4 address is kept in its v4-mapped form, so that both ways of writing one are the same address. */
struct endpoint {
	struct in6_addr address;
	uint16_t port;
};

struct connection {
	struct endpoint client;
	struct endpoint server;
};

struct network {
	struct in6_addr address;
	unsigned int bits;
};

struct networks {
	struct network items[NETWORKS_MAX];
	size_t count;
};

/* Appends the networks of "CIDR,CIDR,..."; false at the first that is malformed, has host bits set or does not fit. */
bool networks_add(struct networks *networks, const char *text);

/* Whether both ends are inside. One end alone is not a tailnet connection: the drop-in does not match it either. */
bool networks_hold(const struct networks *networks, const struct connection *connection);

/* Whether any word of a text that could not be read is an address inside. */
bool networks_hold_word_of(const struct networks *networks, const char *text);

/* "ADDRESS PORT ADDRESS PORT", single spaces, numbers only: no names, no scope, nothing before, between or after. */
bool endpoints_parse(const char *text, struct endpoint *ret_first, struct endpoint *ret_second);

void endpoint_format(const struct endpoint *endpoint, char address[INET6_ADDRSTRLEN], char port[PORT_TEXT_SIZE]);

#endif
