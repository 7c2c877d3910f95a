/* See options.h. */
#include "options.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* Longer than sshd's LoginGraceTime makes no sense, and poll() counts in int milliseconds. */
#define TIMEOUT_MAX_SECONDS 120

#define NETWORKS_DEFAULT_COUNT 2

const char *
option_value(const char *argument, const char *key)
{
	size_t length = strlen(key);

	return strncmp(argument, key, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

bool
option_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret)
{
	unsigned long number;

	if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
		return false;
	errno = 0;
	number = strtoul(text, NULL, 10);
	if (errno != 0 || number < min || number > max)
		return false;
	*ret = number;
	return true;
}

void
options_begin(struct options *options)
{
	memset(options, 0, sizeof(*options));
	options->agent.socket = TSW_SOCKET;
	options->agent.uid = 0;
	options->agent.timeout_ms = TSW_TIMEOUT_MS;
}

static bool
take_socket(struct options *options, const char *path)
{
	if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return false;
	options->agent.socket = path;
	return true;
}

bool
options_take(struct options *options, const char *argument)
{
	const char *value;
	unsigned long number;

	if ((value = option_value(argument, "socket")) != NULL)
		return take_socket(options, value);
	if ((value = option_value(argument, "addresses")) != NULL)
		return networks_add(&options->networks, value) &&
		    options->networks.count <= NETWORKS_MAX - NETWORKS_DEFAULT_COUNT;
	if ((value = option_value(argument, "agent_uid")) != NULL) {
		/* The last value is (uid_t)-1, which the kernel keeps for "no user". */
		if (!option_number(value, 0, UINT32_MAX - 1, &number))
			return false;
		options->agent.uid = (uid_t)number;
		return true;
	}
	if ((value = option_value(argument, "timeout")) != NULL) {
		if (!option_number(value, 1, TIMEOUT_MAX_SECONDS, &number))
			return false;
		options->agent.timeout_ms = (int)number * 1000;
		return true;
	}
	return false;
}

void
options_finish(struct options *options, bool bad)
{
	if (options->networks.count > NETWORKS_MAX - NETWORKS_DEFAULT_COUNT)
		options->networks.count = NETWORKS_MAX - NETWORKS_DEFAULT_COUNT;
	if (bad || options->networks.count == 0)
		(void)networks_add(&options->networks, NETWORKS_DEFAULT);
}

void
decide_request(struct agent_request *request, const char *user, const struct connection *connection,
    const char *method, const char *phase, const char *mode)
{
	char address[INET6_ADDRSTRLEN], port[PORT_TEXT_SIZE];

	agent_request_begin(request);
	agent_request_add(request, TSW_KEY_REQUEST, TSW_REQUEST_DECIDE);
	agent_request_add(request, TSW_KEY_USER, user);
	endpoint_format(&connection->client, address, port);
	agent_request_add(request, TSW_KEY_CLIENT, address);
	agent_request_add(request, TSW_KEY_CLIENT_PORT, port);
	endpoint_format(&connection->server, address, port);
	agent_request_add(request, TSW_KEY_SERVER, address);
	agent_request_add(request, TSW_KEY_SERVER_PORT, port);
	agent_request_add(request, TSW_KEY_METHOD, method);
	agent_request_add(request, TSW_KEY_PHASE, phase);
	agent_request_add(request, TSW_KEY_MODE, mode);
}
