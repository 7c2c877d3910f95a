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
	bool check; /* true only for the word TSW_VERDICT_CHECK: a no that a check would turn into a yes */
	bool limited; /* true only for the word TSW_VERDICT_LIMITED: the offered key may be printed behind `options` */
	char options[TSW_OPTIONS_MAX + 1]; /* as the agent sent them: not yet known to be of the form they must have */
	char id[AGENT_ID_MAX + 1];
	char text[TSW_TEXT_MAX + 1]; /* for the person, as the agent sent it: not yet safe to show */
};

typedef void agent_info_fn(const char *text, void *context);

/* Puts a prompt to the person and waits until they have answered; false when they cannot be asked or have gone. */
typedef bool agent_prompt_fn(const char *text, void *context);

/* Who is told and asked on the way to the verdict. */
struct agent_listener {
	agent_info_fn *info;
	agent_prompt_fn *prompt; /* NULL: nobody can be asked here, so that a prompt breaks the protocol */
	void *context;
	int person_fd; /* the socket of the person's own connection, watched while the agent waits; -1: it is not known */
};

/* The clock of all deadlines and durations here. */
int64_t monotonic_ms(void);

void agent_request_begin(struct agent_request *request);
void agent_request_add(struct agent_request *request, const char *key, const char *value);

/*
 * Returns 0 when a verdict came, which is then in *ret_verdict. Everything else is negative, and *ret_verdict denies:
 * -ETIMEDOUT past a deadline, -ECONNRESET closed without a verdict, -EPERM the other end belongs to somebody else,
 * -EBADMSG or -EMSGSIZE an answer (or a request) that breaks the protocol, -ECANCELED the person could not be asked or has
 * gone, else what connect() or send() said. `listener` may be NULL: nobody is there to be told or asked anything.
 */
int agent_ask(const struct agent_place *place, const struct agent_request *request,
    const struct agent_listener *listener, struct agent_verdict *ret_verdict);

#endif
