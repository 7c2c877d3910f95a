/*
 * One question to the agent and its answer, as tailscale_wire.h says. Used by every shim.
 *
 * Nothing here logs, allocates, keeps state, or touches signals; errors are negative errno values.
 */
#ifndef AGENT_CLIENT_H
#define AGENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tailscale_wire.h"

#define AGENT_ID_MAX 64

/* Where the agent is. Its end of the socket has to belong to root or to `uid`. */
struct agent_place {
	const char *socket;
	uid_t uid;
	int timeout_ms;
};

/* A request under construction. Once something did not fit, agent_ask() refuses to send it. */
struct agent_request {
	char bytes[TSW_MESSAGE_MAX];
	size_t length;
	bool overflow;
};

struct agent_verdict {
	bool allow; /* true only for the word TSW_VERDICT_ALLOW */
	char id[AGENT_ID_MAX + 1];
	char text[TSW_TEXT_MAX + 1]; /* for the person, as the agent sent it: not yet safe to show */
};

/* The clock of all deadlines and durations here. */
int64_t monotonic_ms(void);

typedef void agent_info_fn(const char *text, void *context);

void agent_request_begin(struct agent_request *request);
void agent_request_add(struct agent_request *request, const char *key, const char *value);

/*
 * Returns 0 when a verdict came, which is then in *ret_verdict. Everything else is negative, and *ret_verdict denies:
 * -ETIMEDOUT past the deadline, -ECONNRESET closed without a verdict, -EPERM the other end belongs to somebody else,
 * -EBADMSG or -EMSGSIZE an answer (or a request) that breaks the protocol, else what connect() or send() said.
 */
int agent_ask(const struct agent_place *place, const struct agent_request *request, agent_info_fn *info, void *context,
    struct agent_verdict *ret_verdict);

#endif
