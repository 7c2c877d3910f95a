/*
 * One call of sshd into the module: what came with it, what sshd is doing, and with which code of PAM it is refused.
 *
 * Nothing here asks the agent, and nothing but the one call is remembered.
 */
#ifndef LOGIN_H
#define LOGIN_H

#include <stdbool.h>
#include <stdint.h>

#include <security/pam_modules.h>

#include "connection.h"
#include "options.h"

enum stage { STAGE_AUTH, STAGE_SETCRED, STAGE_ACCOUNT, STAGE_OPEN, STAGE_CLOSE };

struct login {
	pam_handle_t *pamh;
	enum stage stage;
	bool silent;
	bool observe;
	bool debug;
	const char *bad_argument;
	const char *method;
	const char *user;
	int64_t started_ms;
	struct options options;
	struct connection connection;
	bool has_connection;
};

/* What the call itself says; the user and the connection are left open. */
void login_begin(struct login *login, pam_handle_t *pamh, enum stage stage, int flags, int argc, const char **argv);

/* Whether sshd is at keyboard-interactive, the one method with which a person can be told and asked something. */
bool login_at_keyboard(const struct login *login);

const char *login_phase(const struct login *login);

/* What PAM is told of a no; `check`: of one that a check would turn into a yes. */
int login_refusal(const struct login *login, bool check);

#endif
