/* The arguments that the module and the key helper share, and the question they put to the agent with them. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

#include "agent_client.h"
#include "connection.h"

struct options {
	struct networks networks;
	struct agent_place agent;
};

/* The defaults; the networks are empty until options_finish() fills in what was not given. */
void options_begin(struct options *options);

/* Takes socket=PATH, agent_uid=UID, timeout=SECONDS or addresses=CIDR[,CIDR...]; false when it is none or malformed. */
bool options_take(struct options *options, const char *argument);

/*
 * Without addresses= the networks are Tailscale's own. When an argument was bad they are added to whatever could be read,
 * so that a misspelt line never makes a tailnet connection look like an ordinary one.
 */
void options_finish(struct options *options, bool bad);

/* The part of an argument behind "key=", or NULL. */
const char *option_value(const char *argument, const char *key);

/* Decimal digits alone, from min to max. */
bool option_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret);

/* Fills in a TSW_REQUEST_DECIDE. */
void decide_request(struct agent_request *request, const char *user, const struct connection *connection,
    const char *method, const char *phase, const char *mode);

#endif
