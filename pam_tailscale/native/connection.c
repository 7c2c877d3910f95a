/* See connection.h. */
#include "connection.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V4_MAPPED_BITS 96

/* Copies up to the delimiter into field and moves behind it; false when the field is empty, too long or not ended. */
static bool
take_field(const char **text, char delimiter, char *field, size_t size)
{
	const char *end = strchr(*text, delimiter);
	size_t length;

	if (end == NULL || end == *text)
		return false;
	length = (size_t)(end - *text);
	if (length >= size)
		return false;
	memcpy(field, *text, length);
	field[length] = '\0';
	*text = delimiter == '\0' ? end : end + 1;
	return true;
}

/* Decimal digits without sign, space or leading zero, at most `max`. */
static bool
parse_number(const char *text, unsigned int max, unsigned int *ret)
{
	unsigned int number = 0;
	const char *at;

	if (*text == '\0' || (text[0] == '0' && text[1] != '\0'))
		return false;
	for (at = text; *at != '\0'; at++) {
		if (*at < '0' || *at > '9')
			return false;
		number = number * 10 + (unsigned int)(*at - '0');
		if (number > max)
			return false;
	}
	*ret = number;
	return true;
}

static bool
parse_address(const char *text, struct in6_addr *ret)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		memset(ret, 0, sizeof(*ret));
		memset(ret->s6_addr + 10, 0xff, 2);
		memcpy(ret->s6_addr + 12, &v4, sizeof(v4));
		return true;
	}
	return inet_pton(AF_INET6, text, ret) == 1;
}

static bool
same_prefix(const struct in6_addr *one, const struct in6_addr *other, unsigned int bits)
{
	unsigned int bytes = bits / 8;
	uint8_t mask = (uint8_t)(0xff00u >> (bits % 8));

	if (memcmp(one->s6_addr, other->s6_addr, bytes) != 0)
		return false;
	return mask == 0 || ((one->s6_addr[bytes] ^ other->s6_addr[bytes]) & mask) == 0;
}

static bool
has_host_bits(const struct network *network)
{
	unsigned int bit;

	for (bit = network->bits; bit < 128; bit++)
		if (network->address.s6_addr[bit / 8] & (0x80u >> (bit % 8)))
			return true;
	return false;
}

static bool
parse_network(const char *text, struct network *ret)
{
	char address[INET6_ADDRSTRLEN];
	const char *at = text;
	unsigned int width;

	if (!take_field(&at, '/', address, sizeof(address)) || !parse_address(address, &ret->address))
		return false;
	width = strchr(address, ':') == NULL ? 32 : 128;
	if (!parse_number(at, width, &ret->bits))
		return false;
	ret->bits += 128 - width;
	return !has_host_bits(ret);
}

bool
networks_add(struct networks *networks, const char *text)
{
	char field[INET6_ADDRSTRLEN + sizeof("/128")];
	bool last;

	do {
		last = strchr(text, ',') == NULL;
		if (networks->count == NETWORKS_MAX || !take_field(&text, last ? '\0' : ',', field, sizeof(field)) ||
		    !parse_network(field, &networks->items[networks->count]))
			return false;
		networks->count++;
	} while (!last);
	return true;
}

static bool
holds_address(const struct networks *networks, const struct in6_addr *address)
{
	const struct network *network;
	size_t i;

	for (i = 0; i < networks->count; i++) {
		network = &networks->items[i];
		/* A network as wide as ::/0 is meant for IPv6; that IPv4 is kept inside it is our own affair. */
		if (IN6_IS_ADDR_V4MAPPED(address) && network->bits < V4_MAPPED_BITS)
			continue;
		if (same_prefix(address, &network->address, network->bits))
			return true;
	}
	return false;
}

bool
networks_hold(const struct networks *networks, const struct connection *connection)
{
	return holds_address(networks, &connection->client.address) &&
	    holds_address(networks, &connection->server.address);
}

bool
networks_hold_word_of(const struct networks *networks, const char *text)
{
	char word[INET6_ADDRSTRLEN];
	struct in6_addr address;
	size_t length;

	for (; *text != '\0'; text += length + (text[length] == ' ')) {
		length = strcspn(text, " ");
		if (length >= sizeof(word))
			continue;
		memcpy(word, text, length);
		word[length] = '\0';
		if (parse_address(word, &address) && holds_address(networks, &address))
			return true;
	}
	return false;
}

static bool
take_endpoint(const char **text, char delimiter, struct endpoint *ret)
{
	char address[INET6_ADDRSTRLEN], port[PORT_TEXT_SIZE];
	unsigned int number;

	if (!take_field(text, ' ', address, sizeof(address)) || !parse_address(address, &ret->address))
		return false;
	if (!take_field(text, delimiter, port, sizeof(port)) || !parse_number(port, UINT16_MAX, &number) || number == 0)
		return false;
	ret->port = (uint16_t)number;
	return true;
}

bool
endpoints_parse(const char *text, struct endpoint *ret_first, struct endpoint *ret_second)
{
	return take_endpoint(&text, ' ', ret_first) && take_endpoint(&text, '\0', ret_second);
}

void
endpoint_format(const struct endpoint *endpoint, char address[INET6_ADDRSTRLEN], char port[PORT_TEXT_SIZE])
{
	if (IN6_IS_ADDR_V4MAPPED(&endpoint->address))
		inet_ntop(AF_INET, endpoint->address.s6_addr + 12, address, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, &endpoint->address, address, INET6_ADDRSTRLEN);
	snprintf(port, PORT_TEXT_SIZE, "%hu", endpoint->port);
}
