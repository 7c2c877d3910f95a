/* See login.h. */
#include "login.h"

#include <stdlib.h>
#include <string.h>

static void
parse_arguments(struct login *login, int argc, const char **argv)
{
	const char *mode;
	int i;

	options_begin(&login->options);
	for (i = 0; i < argc; i++) {
		mode = option_value(argv[i], "mode");
		if (mode != NULL && strcmp(mode, TSW_MODE_ENFORCE) == 0)
			login->observe = false;
		else if (mode != NULL && strcmp(mode, TSW_MODE_OBSERVE) == 0)
			login->observe = true;
		else if (strcmp(argv[i], "debug") == 0)
			login->debug = true;
		else if (mode != NULL || !options_take(&login->options, argv[i]))
			login->bad_argument = argv[i];
	}
	/* A line that cannot be read whole is not taken as the administrator's word for "only watch". */
	if (login->bad_argument != NULL)
		login->observe = false;
	options_finish(&login->options, login->bad_argument != NULL);
}

/*
 * sshd runs keyboard-interactive in a child whose environment it has emptied, and `none` in its own (auth-pam.c,
 * sshpam_thread): the one difference a module can see before it has asked anything.
 */
static const char *
method_of(enum stage stage)
{
	if (stage != STAGE_AUTH)
		return TSW_METHOD_UNKNOWN;
	return getenv("PATH") == NULL ? TSW_METHOD_KEYBOARD : TSW_METHOD_NONE;
}

void
login_begin(struct login *login, pam_handle_t *pamh, enum stage stage, int flags, int argc, const char **argv)
{
	memset(login, 0, sizeof(*login));
	login->started_ms = monotonic_ms();
	login->pamh = pamh;
	login->stage = stage;
	login->silent = ((unsigned int)flags & PAM_SILENT) != 0;
	login->method = method_of(stage);
	parse_arguments(login, argc, argv);
}

bool
login_at_keyboard(const struct login *login)
{
	return strcmp(login->method, TSW_METHOD_KEYBOARD) == 0;
}

const char *
login_phase(const struct login *login)
{
	switch (login->stage) {
	case STAGE_AUTH:
		return TSW_PHASE_AUTH;
	case STAGE_OPEN:
		return TSW_PHASE_SESSION;
	default:
		return TSW_PHASE_ACCOUNT;
	}
}

static int
refusal_of_auth(const struct login *login, bool check)
{
	/* PAM_MAXTRIES keeps the client from asking for a password that nobody would look at. */
	if (login_at_keyboard(login))
		return PAM_MAXTRIES;
	/* libpam keeps the result of `none` for pam_setcred(): our PAM lines take this one for no failure (try_again=done). */
	return check ? PAM_TRY_AGAIN : PAM_AUTH_ERR;
}

int
login_refusal(const struct login *login, bool check)
{
	switch (login->stage) {
	case STAGE_AUTH:
		return refusal_of_auth(login, check);
	case STAGE_SETCRED:
		return PAM_CRED_ERR;
	case STAGE_OPEN:
	case STAGE_CLOSE:
		return PAM_SESSION_ERR;
	default:
		return PAM_PERM_DENIED;
	}
}
