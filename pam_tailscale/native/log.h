/* The module's lines in the log: what the agent cannot log itself, in the form of its own lines. */
#ifndef LOG_H
#define LOG_H

#include "agent_client.h"
#include "login.h"

/* A refusal for a reason of the module's own. `detail` is for the administrator. */
void log_denial(const struct login *login, int priority, const char *reason, const char *detail);

/* Where the administrator wants it (debug): which verdict the agent has given, and under which id it is in the journal. */
void log_verdict(const struct login *login, const struct agent_verdict *verdict);

#endif
